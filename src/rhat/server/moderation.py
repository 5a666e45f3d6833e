"""`POST /v1/moderations`: texts scored by their projection on r̂."""

from __future__ import annotations

import secrets
from typing import Any

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from rhat.server.connection import while_connected
from rhat.server.errors import RequestError
from rhat.server.events import Failed, Projected
from rhat.server.jobs import ProjectionJob
from rhat.server.openapi import ERRORS
from rhat.server.schemas import ModerationRequest
from rhat.server.service import Service, service_of

router = APIRouter()
CATEGORY = "refusal"


@router.post("/v1/moderations", responses=ERRORS, response_model=None)
async def moderations(request: Request, body: ModerationRequest) -> Response:
    """Score texts or conversations as prompts by their projection on r̂; flagged above the calibrated threshold."""
    service = service_of(request)
    name, direction = service.directions.named(body.direction)
    threshold = service.directions.threshold(name)
    if (
        body.model is not None
        and not body.model.startswith("omni-moderation")
        and not body.model.startswith("text-moderation")
    ):
        service.check_model(body.model)
    talks = body.conversations
    if len(talks) > service.settings.slots * 4:
        raise RequestError(
            400,
            f"input: got {len(talks)} texts, at most {service.settings.slots * 4} are taken at once (four times --slots)",
            param="input",
        )
    for number, talk in enumerate(talks, 1):
        if talk[-1]["role"] != "user":
            raise RequestError(
                400,
                f"input: conversation {number} ends with the {talk[-1]['role']}'s turn; end it with the user's",
                param="input",
            )
    prompts = tuple([await service.chat_tokens(talk) for talk in talks])
    for tokens in prompts:
        service.room(tokens)
    ticket = service.runner.submit(ProjectionJob(direction, prompts))

    async def reading() -> Projected:
        try:
            with anyio.fail_after(service.settings.timeout):
                event = await ticket.events.get()
        except TimeoutError as error:
            raise RequestError(
                504, "the reading took too long and was called off; try again later", code="timeout"
            ) from error
        finally:
            ticket.cancel()
        if isinstance(event, Failed):
            raise event.error
        assert isinstance(event, Projected)
        return event

    values = (await while_connected(request, reading())).values
    results = [_result(service, name, value, threshold) for value in values]
    request.state.noted.update(prompt_tokens=sum(map(len, prompts)), flagged=sum(value > threshold for value in values))
    return JSONResponse({"id": f"modr-{secrets.token_hex(12)}", "model": service.model.name, "results": results})


def _result(service: Service, name: str, value: float, threshold: float) -> dict[str, Any]:
    """One text's result in OpenAI's form; its projection is counted, and shown to the alarm."""
    direction, metrics = service.directions.known[name], service.metrics
    gap = direction.mean_harmful - direction.mean_harmless
    flagged = value > threshold
    scaled = (value - direction.mean_harmless) / gap if gap else float(flagged)
    metrics.flagged.labels(str(flagged).lower()).inc()
    metrics.projections.labels(name).observe(scaled)
    if alarm := service.directions.alarms.get(name):
        metrics.alarm.labels(name).set(alarm.see(value))
        metrics.evidence.labels(name).set(alarm.evidence)
    return {
        "flagged": flagged,
        "categories": {CATEGORY: flagged},
        "category_scores": {CATEGORY: min(1.0, max(0.0, scaled))},
        "category_applied_input_types": {CATEGORY: ["text"]},
        "rhat": {"direction": name, "projection": value, "threshold": threshold},
    }
