"""A server on an address of this machine, until it is told to stop."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import uvicorn

from rhat.directions import Direction
from rhat.guard import Calibration
from rhat.model import ChatModel
from rhat.server.app import create_app
from rhat.server.errors import ServerError
from rhat.server.logs import log, to_stderr
from rhat.server.settings import Settings


def serve(
    model: ChatModel,
    directions: Mapping[str, Direction],
    settings: Settings,
    calibrations: Mapping[str, Calibration] | None = None,
) -> None:
    """Serve until told to stop (SIGINT or SIGTERM); running answers then have `settings.grace` seconds left.

    Raises:
        ServerError: if the address cannot be listened on.
    """
    app = create_app(model, directions, settings, calibrations)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host.strip("[]"), settings.port))
    except OSError as error:
        listener.close()
        raise ServerError(
            f"{settings.host}:{settings.port}: cannot listen there ({error.strerror or error}); give another --port"
        ) from error
    to_stderr()
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    log("listening", url=f"http://{shown}:{listener.getsockname()[1]}", playground=settings.playground)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=max(1, round(settings.grace)),
        server_header=False,
        proxy_headers=False,
    )
    uvicorn.Server(config).run(sockets=[listener])
