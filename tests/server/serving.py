"""A server on a free port of this machine, in a thread, with a tiny model in float64."""

import json
import socket
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass

import torch

from rhat.directions import Direction
from rhat.sites import Site


@dataclass
class Running:
    """A server that runs: its address, and its application."""

    url: str
    app: object

    @property
    def service(self):
        return self.app.state.rhat

    @property
    def model(self):
        return self.service.model


@contextmanager
def running(model, directions, settings=None, calibrations=None):
    import uvicorn

    from rhat.server import Settings, create_app

    app = create_app(model, directions, settings or Settings(), calibrations)
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            for _ in range(600):
                if server.started:
                    break
                assert thread.is_alive(), "the server did not start"
                time.sleep(0.02)
            yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", app)
        finally:
            server.should_exit = True
            thread.join(20)


def announced(process):
    """The address that a server in a process of its own says on stderr, which is read on so that it never fills up."""
    line = ""
    while '"listening"' not in line:
        line = process.stderr.readline()
        assert line, "the server ended before it listened"
    threading.Thread(target=process.stderr.read, daemon=True).start()
    return json.loads(line)["url"]


def make_direction(model, seed=3, layer=1, position=-1):
    unit = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))
    return Direction(unit / unit.norm(), Site("resid_pre", layer), position, 4.0, 5.0, -2.0)
