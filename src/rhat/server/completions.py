"""`POST /v1/chat/completions` and `POST /v1/completions`."""

from __future__ import annotations

import secrets
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from rhat.generation import Probe, Sampling
from rhat.generation import Request as GenerationRequest
from rhat.server.answers import Choice, full_response, response_chunks
from rhat.server.connection import while_connected
from rhat.server.errors import RequestError
from rhat.server.jobs import GenerationJob
from rhat.server.openapi import ERRORS, STREAMED
from rhat.server.options import ResolvedOptions
from rhat.server.schemas import ChatRequest, CompletionRequest, Sampled
from rhat.server.service import Service, service_of
from rhat.server.shape import Prompt, ResponseShape
from rhat.server.stream import EventStream

router = APIRouter()


@router.post("/v1/chat/completions", responses={**ERRORS, **STREAMED}, response_model=None)
async def chat_completions(request: Request, body: ChatRequest) -> Response:
    """Answer a conversation, under the interventions that `rhat` names."""
    service = service_of(request)
    service.check_model(body.model)
    asked = service.directions.resolve(body.rhat, service.default)
    await _check_effort(request, service)
    messages = [message.as_template() for message in body.messages]
    tokens = await service.chat_tokens(messages)
    wanted = body.max_completion_tokens or body.max_tokens
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    if service.settings.log_prompts:
        request.state.noted["messages"] = messages
    prompts = [Prompt(tokens, service.room(tokens, wanted), wanted)]
    return await _answer(request, body, prompts, asked, logprobs=logprobs, ignored=body.ignored)


async def _check_effort(request: Request, service: Service) -> None:
    """Raise if no reasoning is asked for where the model thinks: elsewhere that changes no answer, and the field is not kept."""
    if service.model.thinking.mode == "on" and (await request.json()).get("reasoning_effort") == "none":
        told = "this server was started with --thinking on; leave reasoning_effort out, or start it without"
        raise RequestError(400, told, param="reasoning_effort", code="unsupported_value")


@router.post("/v1/completions", responses={**ERRORS, **STREAMED}, response_model=None)
async def completions(request: Request, body: CompletionRequest) -> Response:
    """Continue a text, without a chat template; template scopes then hold no token."""
    service = service_of(request)
    service.check_model(body.model)
    asked = service.directions.resolve(body.rhat, service.default)
    if any(part.gate is not None for part in asked.parts):
        raise RequestError(
            400, "conditional interventions read the chat template's tokens; use /v1/chat/completions", param="rhat"
        )
    given = body.prompt
    many = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    _check_number(service, body.n, len(many))
    wanted = 16 if body.max_tokens is None else body.max_tokens
    prompts = [await _raw_prompt(service, one, wanted, body) for one in many]
    if service.settings.log_prompts:
        request.state.noted["prompt"] = given
    return await _answer(request, body, prompts, asked, logprobs=body.logprobs)


async def _raw_prompt(service: Service, given: Any, wanted: int, body: CompletionRequest) -> Prompt:
    """A text or token ids, without a chat template."""
    tokens = await service.raw_tokens(given) if isinstance(given, str) else tuple(given)
    vocabulary = service.model.hf.get_input_embeddings().weight.shape[0]
    if any(token >= vocabulary for token in tokens):
        raise RequestError(
            400, f"prompt: got token {max(tokens)}, this model has 0 to {vocabulary - 1}", param="prompt"
        )
    new = service.room(tokens, wanted, 1 if wanted else 0)
    echo = await service.echo(tokens, given if isinstance(given, str) else None) if body.echo else None
    return Prompt(tokens, new, wanted, echo, chat=False)


def _check_number(service: Service, n: int | None, n_prompts: int) -> None:
    """Raise if more answers are asked for than can be written and wait at once."""
    many, most = (n or 1) * n_prompts, service.runner.most
    if many > most:
        raise RequestError(
            400,
            f"n: {many} answers are asked for, at most {most} are taken at once (--slots and --max-queue); send several requests",
            param="n",
        )


async def _answer(
    request: Request,
    body: Sampled,
    prompts: list[Prompt],
    asked: ResolvedOptions,
    *,
    logprobs: int | None,
    ignored: tuple[str, ...] = (),
) -> Response:
    """Hand the prompts to the engine, and its events to the client."""
    service, noted = service_of(request), request.state.noted
    began = time.monotonic()
    _check_number(service, body.n, len(prompts))
    sampling = _sampling(service, body)
    asks = _jobs(body, prompts, asked, sampling, logprobs=logprobs)
    n_prompt = sum(len(prompt.tokens) for prompt in prompts)
    shape = ResponseShape(
        prompts=tuple(prompt for prompt in prompts for _ in range(body.n or 1)),
        model=service.model.name,
        n_prompt=n_prompt,
        asked=asked,
        ignored=ignored,
        token_text=service.token_text,
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
    cut = [prompt.new for prompt in prompts if prompt.cut]
    headers = {"x-rhat-max-tokens": str(min(cut))} if cut else {}
    if body.stream:
        return EventStream(response_chunks(ticket, shape, deadline, note), headers)
    return JSONResponse(await while_connected(request, full_response(ticket, shape, deadline, note)), headers=headers)


def _jobs(
    body: Sampled,
    prompts: list[Prompt],
    asked: ResolvedOptions,
    sampling: dict[str, Any] | None,
    *,
    logprobs: int | None,
) -> tuple[GenerationJob, ...]:
    """One job for each answer: `n` of each prompt, whose seeds follow one another."""
    direction = asked.direction
    return tuple(
        GenerationJob(
            GenerationRequest(
                prompt.tokens,
                prompt.new,
                sampling=None
                if sampling is None
                else Sampling(**{**sampling, "seed": _seed(sampling["seed"] + choice)}),
                stop=body.stops,
                logprobs=logprobs,
                probe=None if direction is None else Probe(direction.site, direction.unit),
                template_length=None if prompt.chat else 0,
            ),
            asked.parts,
            direction.position if direction is not None and prompt.chat else -1,
            prompt.echo[1] if prompt.echo is not None and logprobs is not None else None,
        )
        for prompt in prompts
        for choice in range(body.n or 1)
    )


def _sampling(service: Service, body: Sampled) -> dict[str, Any] | None:
    """Arguments of Sampling; None for plain greedy decoding."""
    vocabulary = service.model.hf.get_input_embeddings().weight.shape[0]
    bias: dict[int, float] = {}
    for key, value in (body.logit_bias or {}).items():
        if not (key.isascii() and key.isdecimal() and len(key) < 12 and int(key) < vocabulary):
            raise RequestError(
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
