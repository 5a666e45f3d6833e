"""The application: OpenAI's routes, moderation, health, metrics, and the playground if it is installed."""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response

import rhat
from rhat.directions import Direction
from rhat.guard import Calibration
from rhat.model import ChatModel
from rhat.server import completions, models, moderation, putting, routes, status
from rhat.server.failures import answer_failures
from rhat.server.logs import log
from rhat.server.metrics import Metrics
from rhat.server.middleware import AccessMiddleware
from rhat.server.openapi import describe_errors
from rhat.server.options import Directions
from rhat.server.runner import Runner
from rhat.server.service import Service
from rhat.server.settings import Settings


def create_app(
    model: ChatModel,
    directions: Mapping[str, Direction] | None = None,
    settings: Settings | None = None,
    calibrations: Mapping[str, Calibration] | None = None,
) -> FastAPI:
    """The ASGI application that serves `model`; its engine thread runs from start-up to shutdown.

    Raises:
        ServerError: if the settings make no sense for these directions.
        DirectionError: if a direction does not fit the model.
    """
    settings = settings or Settings()
    metrics = Metrics()
    known = Directions(model, directions or {}, calibrations)
    longest = getattr(model.text_config, "max_position_embeddings", None)
    max_length = min(settings.max_length, longest) if isinstance(longest, int) else settings.max_length
    runner = Runner(model, slots=settings.slots, max_length=max_length, max_queue=settings.max_queue, metrics=metrics)
    service = Service(
        model,
        known,
        settings,
        known.defaults(settings.default),
        runner,
        metrics,
        copy.deepcopy(model.tokenizer),
        threading.Lock(),
        int(time.time()),
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        runner.start()
        log("started", model=model.name, directions=list(known.known), slots=settings.slots)
        try:
            yield
        finally:
            await asyncio.to_thread(runner.stop)
            log("stopped")

    app = FastAPI(
        title="rhat",
        version=rhat.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        description="An OpenAI-compatible server for a model under interventions on its refusal direction.",
    )
    app.state.rhat = service
    answer_failures(app)
    for part in (status, models, completions, moderation, putting, routes):
        app.include_router(part.router)
    describe_errors(app)
    if settings.playground and importlib.util.find_spec("gradio") is not None:
        from rhat.server.playground import mount

        app = mount(app, service)
    else:
        app.add_api_route("/", _no_playground, include_in_schema=False)
    if settings.allowed_origins:
        from starlette.middleware.cors import CORSMiddleware

        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["retry-after", "x-request-id", "x-rhat-max-tokens"],
        )
    app.add_middleware(AccessMiddleware, settings=settings, metrics=metrics)
    return app


async def _no_playground() -> Response:
    return PlainTextResponse(
        "rhat serves OpenAI's API at /v1. The playground is off; install it with: pip install 'rhat[playground]'\n"
    )
