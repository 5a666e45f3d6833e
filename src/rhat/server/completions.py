"""`POST /v1/chat/completions` and `POST /v1/completions`."""

from __future__ import annotations

import secrets
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from rhat.directions import Direction
from rhat.generation import Probe, Sampling
from rhat.generation import Request as GenerationRequest
from rhat.server.answers import Choice, ResponseShape, full_response, response_chunks
from rhat.server.connection import while_connected
from rhat.server.errors import RequestError
from rhat.server.jobs import GenerationJob
from rhat.server.openapi import ERRORS, STREAMED
from rhat.server.options import ResolvedOptions
from rhat.server.schemas import ChatRequest, CompletionRequest, Sampled
from rhat.server.service import Service, service_of
from rhat.server.stream import EventStream

router = APIRouter()


@router.post("/v1/chat/completions", responses={**ERRORS, **STREAMED}, response_model=None)
async def chat_completions(request: Request, body: ChatRequest) -> Response:
    """Answer a conversation, under the interventions that `rhat` names."""
    service = service_of(request)
    service.check_model(body.model)
    asked = service.directions.resolve(body.rhat, service.default)
    messages = [{"role": m.role.replace("developer", "system"), "content": m.text} for m in body.messages]
    tokens = await service.chat_tokens(messages)
    new = service.check_length(tokens, body.max_completion_tokens or body.max_tokens)
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    if service.settings.log_prompts:
        request.state.noted["messages"] = messages
    return await _answer(request, body, [tokens], new, asked, logprobs=logprobs, chat=True)


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
    prompts = [
        await service.raw_tokens(p) if isinstance(p, str) else tuple(p)
        for p in many[: service.settings.max_choices + 1]
    ]
    vocabulary = service.model.hf.get_input_embeddings().weight.shape[0]
    for tokens in prompts:
        if any(token >= vocabulary for token in tokens):
            raise RequestError(
                400, f"prompt: got token {max(tokens)}, this model has 0 to {vocabulary - 1}", param="prompt"
            )
    new = min(service.check_length(tokens, body.max_tokens) for tokens in prompts)
    if service.settings.log_prompts:
        request.state.noted["prompt"] = given
    return await _answer(request, body, prompts, new, asked, logprobs=body.logprobs, chat=False)


async def _answer(
    request: Request,
    body: Sampled,
    prompts: list[tuple[int, ...]],
    new: int,
    asked: ResolvedOptions,
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
        raise RequestError(
            400, f"n: {n * len(prompts)} answers are asked for, at most {most} are given at once", param="n"
        )
    direction = None if asked.projected is None else service.directions.known[asked.projected]
    sampling = _sampling(service, body)
    asks = _jobs(body, prompts, new, asked, direction, sampling, logprobs=logprobs, chat=chat)
    n_prompt = sum(len(tokens) for tokens in prompts)
    shape = ResponseShape(
        chat=chat,
        model=service.model.name,
        n_prompt=n_prompt,
        n_choices=len(asks),
        asked=asked,
        direction=direction,
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
    if body.stream:
        return EventStream(response_chunks(ticket, shape, deadline, note))
    return JSONResponse(await while_connected(request, full_response(ticket, shape, deadline, note)))


def _jobs(
    body: Sampled,
    prompts: list[tuple[int, ...]],
    new: int,
    asked: ResolvedOptions,
    direction: Direction | None,
    sampling: dict[str, Any] | None,
    *,
    logprobs: int | None,
    chat: bool,
) -> tuple[GenerationJob, ...]:
    """One job for each answer: `n` of each prompt, whose seeds follow one another."""
    return tuple(
        GenerationJob(
            GenerationRequest(
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
