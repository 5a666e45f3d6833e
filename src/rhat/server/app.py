"""The application: OpenAI's routes, moderation, health, metrics, and the playground if it is installed."""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import secrets
import threading
import time
from collections.abc import Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

import rhat
from rhat.directions import Direction
from rhat.errors import RhatError, TemplateError
from rhat.generation import Probe, Sampling
from rhat.generation import Request as ToGenerate
from rhat.guard import Calibration
from rhat.model import ChatModel
from rhat.model.template import render
from rhat.server.answers import Choice, EventStream, Shape, chunks, whole
from rhat.server.asked import Asked, Directions, Part, first_problem
from rhat.server.errors import ClientGoneError, Refused, ServerError, error_body
from rhat.server.logs import log, to_stderr
from rhat.server.metrics import Metrics
from rhat.server.middleware import Door
from rhat.server.runner import Ask, Failed, Read, Reading, Runner
from rhat.server.schemas import ChatRequest, CompletionRequest, ModerationRequest, Sampled
from rhat.server.settings import Settings

Result = TypeVar("Result")
ALIASES = ("default", "rhat")
CATEGORY = "refusal"


@dataclass(eq=False)
class Service:
    """What the routes work with."""

    model: ChatModel
    directions: Directions
    settings: Settings
    default: tuple[Part, ...]
    runner: Runner
    metrics: Metrics
    tokenizer: Any  # the event loop's own: the engine thread uses the model's
    lock: threading.Lock
    created: int

    async def chat_tokens(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        """Token ids of a conversation.

        Raises:
            Refused: if the chat template does not take it.
        """
        system = self.model.template.system
        if any(message["role"] == "system" for message in messages):
            system = None

        def work() -> tuple[int, ...]:
            with self.lock:
                return render(self.tokenizer, messages, system, self.model.response_prefix)

        try:
            return await asyncio.to_thread(work)
        except TemplateError as error:
            raise Refused(400, str(error), param="messages") from error

    async def raw_tokens(self, text: str) -> tuple[int, ...]:
        """Token ids of a text without any template."""

        def work() -> tuple[int, ...]:
            with self.lock:
                return tuple(self.tokenizer(text)["input_ids"])

        return await asyncio.to_thread(work)

    def spell(self, token: int) -> str:
        """A token's text, special ones shown."""
        return self.tokenizer.decode([token])

    def check_model(self, name: str) -> None:
        """Raise unless that is the model that is served."""
        if name not in (self.model.name, *ALIASES):
            raise Refused(
                404,
                f"model {name[:80]!r}: not served here; this server has {self.model.name}",
                code="model_not_found",
                param="model",
            )

    def check_length(self, tokens: tuple[int, ...], asked: int | None) -> int:
        """How many tokens an answer to this prompt may have.

        Raises:
            Refused: if prompt and answer do not fit, or more is asked for than the server gives.
        """
        limit, most = self.settings.max_length, self.settings.max_tokens
        if not tokens:
            raise Refused(400, "the prompt is empty; give at least one token", param="prompt")
        if asked is not None and asked > most:
            raise Refused(400, f"max_tokens: got {asked}, at most {most} are given here", param="max_tokens")
        room = limit - len(tokens)
        if room < (asked or 1):
            raise Refused(
                400,
                f"the prompt has {len(tokens)} tokens and {asked or 1} are asked for; at most {limit} fit together",
                code="context_length_exceeded",
                param="messages",
            )
        return asked if asked is not None else min(most, room)


router = APIRouter()


def service_of(request: Request) -> Service:
    """The service that this application was made for."""
    return request.app.state.rhat


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": what,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    for status, what in {
        400: "The request cannot be done as asked; one line says why.",
        401: "Wrong or missing API key.",
        403: "Another origin's page.",
        404: "No such model.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        421: "Another host's name.",
        422: "The request is malformed.",
        429: "Too much is waiting; see Retry-After.",
        503: "Stopping, or out of memory; see Retry-After.",
        504: "The answer took too long.",
    }.items()
}
_STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer, or with `stream` its chunks.",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    }
}


@router.get("/health")
async def health(request: Request) -> Response:
    """Whether the server can answer."""
    runner = service_of(request).runner
    state = {"status": "ok" if runner.alive else "stopping", "active": runner.active, "waiting": runner.waiting}
    return JSONResponse({**state, "version": rhat.__version__}, 200 if runner.alive else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus metrics."""
    return PlainTextResponse(service_of(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _model(service: Service) -> dict[str, Any]:
    described = service.model.describe()
    return {
        "id": service.model.name,
        "object": "model",
        "created": service.created,
        "owned_by": "rhat",
        "rhat": {
            "n_layers": described["n_layers"],
            "dtype": described["dtype"],
            "identity": service.model.identity,
            "directions": [
                {
                    "name": name,
                    **r.describe(),
                    **(
                        {"threshold": service.directions.calibrations[name].threshold}
                        if name in service.directions.calibrations
                        else {}
                    ),
                }
                for name, r in service.directions.known.items()
            ],
            "default": [part.describe() for part in service.default],
        },
    }


@router.get("/v1/models", responses=_ERRORS)
async def models(request: Request) -> dict[str, Any]:
    """The model that is served, with the directions that requests may name."""
    return {"object": "list", "data": [_model(service_of(request))]}


@router.get("/v1/models/{name:path}", responses=_ERRORS)
async def model(request: Request, name: str) -> dict[str, Any]:
    """One model."""
    service = service_of(request)
    service.check_model(name)
    return _model(service)


@router.post("/v1/chat/completions", responses={**_ERRORS, **_STREAMED}, response_model=None)
async def chat_completions(request: Request, body: ChatRequest) -> Response:
    """Answer a conversation, under the interventions that `rhat` names."""
    service = service_of(request)
    service.check_model(body.model)
    asked = service.directions.asked(body.rhat, service.default)
    messages = [{"role": m.role.replace("developer", "system"), "content": m.text} for m in body.messages]
    tokens = await service.chat_tokens(messages)
    new = service.check_length(tokens, body.max_completion_tokens or body.max_tokens)
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    if service.settings.log_prompts:
        request.state.noted["messages"] = messages
    return await _answer(request, body, [tokens], new, asked, logprobs=logprobs, chat=True)


@router.post("/v1/completions", responses={**_ERRORS, **_STREAMED}, response_model=None)
async def completions(request: Request, body: CompletionRequest) -> Response:
    """Continue a text, without a chat template; template scopes then hold no token."""
    service = service_of(request)
    service.check_model(body.model)
    asked = service.directions.asked(body.rhat, service.default)
    if any(part.gate is not None for part in asked.parts):
        raise Refused(
            400, "conditional interventions read the chat template's tokens; use /v1/chat/completions", param="rhat"
        )
    given = body.prompt
    many = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    prompts = [
        await service.raw_tokens(p) if isinstance(p, str) else tuple(p)
        for p in many[: service.settings.max_choices + 1]
    ]
    vocabulary = service.model.hf.get_input_embeddings().weight.shape[0]
    for tokens in prompts:
        if any(token >= vocabulary for token in tokens):
            raise Refused(400, f"prompt: got token {max(tokens)}, this model has 0 to {vocabulary - 1}", param="prompt")
    new = min(service.check_length(tokens, body.max_tokens) for tokens in prompts)
    if service.settings.log_prompts:
        request.state.noted["prompt"] = given
    return await _answer(request, body, prompts, new, asked, logprobs=body.logprobs, chat=False)


async def _answer(
    request: Request,
    body: Sampled,
    prompts: list[tuple[int, ...]],
    new: int,
    asked: Asked,
    *,
    logprobs: int | None,
    chat: bool,
) -> Response:
    """Hand the prompts to the engine, and its events to the client."""
    service, noted = service_of(request), request.state.noted
    began = time.monotonic()
    n = body.n or 1
    if n * len(prompts) > min(service.settings.max_choices, service.settings.slots):
        most = min(service.settings.max_choices, service.settings.slots)
        raise Refused(400, f"n: {n * len(prompts)} answers are asked for, at most {most} are given at once", param="n")
    direction = None if asked.projected is None else service.directions.known[asked.projected]
    sampling = _sampling(service, body)
    asks = tuple(
        Ask(
            ToGenerate(
                tokens,
                new,
                sampling=None
                if sampling is None
                else Sampling(**{**sampling, "seed": _seed(sampling["seed"] + choice)}),
                stop=body.stops,
                logprobs=logprobs,
                probe=None if direction is None else Probe(direction.site, direction.unit),
                template_length=None if chat else 0,
            ),
            asked.parts,
            direction.position if direction is not None and chat else -1,
        )
        for tokens in prompts
        for choice in range(n)
    )
    n_prompt = sum(len(tokens) for tokens in prompts)
    shape = Shape(
        chat=chat,
        model=service.model.name,
        n_prompt=n_prompt,
        n_choices=len(asks),
        asked=asked,
        direction=direction,
        spell=service.spell,
        logprobs=logprobs is not None,
        seed=None if sampling is None else sampling["seed"],
        include_usage=bool(body.stream and body.stream_options and body.stream_options.include_usage),
    )
    ticket = service.runner.submit(asks)
    noted |= {"prompt_tokens": n_prompt, "stream": bool(body.stream)}
    if asked.parts:
        noted["interventions"] = [part.describe() for part in asked.parts]

    def note(choices: list[Choice]) -> None:
        noted["completion_tokens"] = sum(choice.n_tokens or len(choice.tokens) for choice in choices)
        noted["finish"] = [choice.finish_reason for choice in choices]
        if service.settings.log_prompts:
            noted["answers"] = ["".join(choice.text) for choice in choices]

    deadline = began + service.settings.timeout
    if body.stream:
        return EventStream(chunks(ticket, shape, deadline, note))
    return JSONResponse(await while_connected(request, whole(ticket, shape, deadline, note)))


def _sampling(service: Service, body: Sampled) -> dict[str, Any] | None:
    """Arguments of Sampling; None for plain greedy decoding."""
    vocabulary = service.model.hf.get_input_embeddings().weight.shape[0]
    bias: dict[int, float] = {}
    for key, value in (body.logit_bias or {}).items():
        if not (key.isascii() and key.isdecimal() and len(key) < 12 and int(key) < vocabulary):
            raise Refused(
                400, f"logit_bias: got {key[:40]!r}, expected token ids from 0 to {vocabulary - 1}", param="logit_bias"
            )
        bias[int(key)] = value
    temperature = 1.0 if body.temperature is None else body.temperature
    penalties = {"presence_penalty": body.presence_penalty or 0.0, "frequency_penalty": body.frequency_penalty or 0.0}
    if temperature == 0 and not bias and not any(penalties.values()):
        return None
    top_p = 1.0 if body.top_p is None else max(body.top_p, 1e-9)
    return {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": max(body.top_k or 0, 0),
        "logit_bias": bias,
        **penalties,
        "seed": secrets.randbits(31) if body.seed is None else body.seed,
    }


def _seed(value: int) -> int:
    """A seed that torch takes, whatever n added to it."""
    return (value + 2**63) % 2**64 - 2**63


async def while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """What `work` gives; it is called off as soon as the client has left.

    Raises:
        ClientGoneError: if it has.
    """
    gone = False
    result: list[Result] = []
    failure: list[Exception] = []
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            nonlocal gone
            while (await request.receive())["type"] != "http.disconnect":
                pass
            gone = True
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            result.append(await work)
        except Exception as error:  # passed on below, outside the group, which would wrap it
            failure.append(error)
        group.cancel_scope.cancel()
    if failure:
        raise failure[0]
    if gone or not result:
        raise ClientGoneError
    return result[0]


@router.post("/v1/moderations", responses=_ERRORS, response_model=None)
async def moderations(request: Request, body: ModerationRequest) -> Response:
    """Score texts as prompts by their projection on r̂; flagged above the calibrated threshold."""
    service = service_of(request)
    name, direction = service.directions.named(body.direction)
    threshold = service.directions.threshold(name)
    if (
        body.model is not None
        and not body.model.startswith("omni-moderation")
        and not body.model.startswith("text-moderation")
    ):
        service.check_model(body.model)
    texts = body.texts
    if len(texts) > service.settings.slots * 4:
        raise Refused(
            400, f"input: got {len(texts)} texts, at most {service.settings.slots * 4} are taken at once", param="input"
        )
    prompts = tuple([await service.chat_tokens([{"role": "user", "content": text}]) for text in texts])
    for tokens in prompts:
        service.check_length(tokens, None)
    ticket = service.runner.submit(Reading(direction, prompts))

    async def reading() -> Read:
        try:
            with anyio.fail_after(service.settings.timeout):
                event = await ticket.events.get()
        except TimeoutError as error:
            raise Refused(
                504, "the reading took too long and was called off; try again later", code="timeout"
            ) from error
        finally:
            ticket.cancel()
        if isinstance(event, Failed):
            raise event.error
        assert isinstance(event, Read)
        return event

    values = (await while_connected(request, reading())).values
    gap = direction.mean_harmful - direction.mean_harmless
    results = []
    for value in values:
        flagged = value > threshold
        service.metrics.flagged.labels(str(flagged).lower()).inc()
        score = min(1.0, max(0.0, (value - direction.mean_harmless) / gap)) if gap else float(flagged)
        results.append(
            {
                "flagged": flagged,
                "categories": {CATEGORY: flagged},
                "category_scores": {CATEGORY: score},
                "category_applied_input_types": {CATEGORY: ["text"]},
                "rhat": {"direction": name, "projection": value, "threshold": threshold},
            }
        )
    request.state.noted.update(prompt_tokens=sum(map(len, prompts)), flagged=sum(value > threshold for value in values))
    return JSONResponse({"id": f"modr-{secrets.token_hex(12)}", "model": service.model.name, "results": results})


@router.api_route("/v1/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
async def unknown(request: Request, path: str) -> Response:
    """Everything else under /v1."""
    raise Refused(404, f"{request.method} /v1/{path[:80]}: no such route; see /openapi.json", code="unknown_url")


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
    async def lifespan(_app: FastAPI):
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
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RhatError, _rhat_error)
    app.add_exception_handler(ClientGoneError, _gone)
    app.include_router(router)
    _describe_errors(app)
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
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["retry-after", "x-request-id"],
        )
    app.add_middleware(Door, settings=settings, metrics=metrics)  # type: ignore[arg-type]
    return app


def _describe_errors(app: FastAPI) -> None:
    """Name the errors' shape in the OpenAPI document."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        field = {"anyOf": [{"type": "string"}, {"type": "null"}]}
        document.setdefault("components", {}).setdefault("schemas", {})["Error"] = {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["message", "type"],
                    "properties": {
                        "message": {"type": "string"},
                        "type": {"type": "string"},
                        "param": field,
                        "code": field,
                    },
                }
            },
        }
        return document

    app.openapi = openapi  # type: ignore[method-assign]


async def _no_playground() -> Response:
    return PlainTextResponse(
        "rhat serves OpenAI's API at /v1. The playground is off; install it with: pip install 'rhat[playground]'\n"
    )


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse(error.body(), error.status_code, headers=error.headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = error.errors()
    param = next((str(part) for e in problems for part in e["loc"] if part != "body"), None)
    if any(e["type"] == "json_invalid" for e in problems):
        return JSONResponse(error_body(400, "the body is not valid JSON", "invalid_json"), 400)
    return JSONResponse(error_body(400, first_problem(problems), None, param), 400)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code, headers=error.headers)


async def _rhat_error(_request: Request, error: Exception) -> Response:
    return JSONResponse(error_body(400, str(error)), 400)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)


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
    import socket

    import uvicorn

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
