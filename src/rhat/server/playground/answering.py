"""The same prompt answered twice, plain and with an intervention, drawn while both are written."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from rhat.directions import Direction
from rhat.errors import RhatError
from rhat.generation import Probe, Sampling
from rhat.generation import Request as GenerationRequest
from rhat.server.answers import FINISH, Choice, apply_event, events
from rhat.server.errors import RequestError
from rhat.server.jobs import GenerationJob
from rhat.server.logs import log
from rhat.server.options import Part
from rhat.server.playground import drawing
from rhat.server.playground.controls import scale
from rhat.server.schemas import InterventionSpec
from rhat.server.service import Service
from rhat.vocabulary import OPERATORS

EVERY = 0.08  # seconds between updates of the page
TITLES = ("Plain", "Intervened")
ENDS = {"stop": "finished", "length": "stopped at the number of tokens"}
assert set(FINISH.values()) == set(ENDS)

Shown = tuple[str, str, str]  # the scale and both answers, as HTML


async def answers(service: Service, given: dict[str, Any]) -> AsyncIterator[Shown]:
    """The scale and both answers as HTML, again and again while they are written."""
    name = given["direction"] or next(iter(service.directions.known))
    if not str(given["prompt"] or "").strip():
        yield scale(service, name, None), _problem("Plain", "Type a prompt first."), _problem("Intervened", "")
        return
    try:
        try:
            async for shown in _written(service, given, name):
                yield shown
        except RequestError as error:
            raise RhatError(error.detail) from error
    except (RhatError, ValueError) as error:
        yield scale(service, name, None), _problem("Plain", str(error)), _problem("Intervened", str(error))


async def _written(service: Service, given: dict[str, Any], name: str) -> AsyncIterator[Shown]:
    direction = service.directions.known[name]
    began = time.monotonic()
    part = service.directions.part(_spec(given, name))
    tokens = await service.chat_tokens([{"role": "user", "content": str(given["prompt"])}])
    new = service.check_length(tokens, int(given["max_tokens"]))
    temperature = float(given["temperature"] or 0)
    sampling = Sampling(temperature, seed=int(given["seed"] or 0)) if temperature else None
    request = GenerationRequest(tokens, new, sampling=sampling, stop=(), probe=Probe(direction.site, direction.unit))
    jobs = [GenerationJob(request, parts, direction.position) for parts in ((), (part,))]
    choices = [Choice(), Choice()]

    def shown() -> Shown:
        prompt = choices[0].prompt
        notes = ("no intervention", _describe(part))
        sides = [
            _drawn(title, note, choice, direction) for title, note, choice in zip(TITLES, notes, choices, strict=True)
        ]
        return scale(service, name, None if prompt is None else prompt[0]), sides[0], sides[1]

    yield shown()  # at once, so that a click is seen to be at work
    drawn = 0.0
    # Both at once; one after the other on a server with a single slot, where two would wait for ever.
    groups = [(0, jobs)] if service.settings.slots > 1 else [(0, jobs[:1]), (1, jobs[1:])]
    for first, group in groups:
        ticket = service.runner.submit(tuple(group))
        async for event in events(ticket, len(group), began + service.settings.timeout):
            apply_event(choices[first:], event)
            if time.monotonic() - drawn >= EVERY:
                drawn = time.monotonic()
                yield shown()
    yield shown()
    log(
        "playground",
        id=secrets.token_hex(8),
        seconds=round(time.monotonic() - began, 3),
        completion_tokens=sum(choice.n_tokens for choice in choices),
        interventions=[part.describe()],
    )


def _drawn(title: str, note: str, choice: Choice, direction: Direction) -> str:
    state = "waiting …" if not choice.started else "writing …"
    if choice.finish_reason is not None:
        state = f"{choice.n_tokens} tokens, {ENDS[choice.finish_reason]}"
    if choice.applied and not all(choice.applied):
        note += " (not applied: the prompt is on the other side of the threshold)"
    rest = "".join(choice.text)[sum(len(token.text) for token in choice.tokens) :]
    return drawing.answer(title, note, choice.tokens, rest, state, direction)


def _spec(given: dict[str, Any], name: str) -> InterventionSpec:
    operator = OPERATORS[given["op"]]
    parameter = operator.parameter
    where = given["where"] or ("all layers" if operator.everywhere else "own layer")
    return InterventionSpec(
        op=given["op"],
        direction=name,
        scope=given["scope"],
        layer=int(given["layer"]) if where == "own layer" else None,
        where=given["where"] or None,
        when=given["when"] or None,
        threshold=None,
        **({} if parameter is None else {parameter.name: float(given["target"])}),
    )


def _describe(part: Part) -> str:
    said = part.describe()
    parameter = OPERATORS[said["op"]].parameter
    value = None if parameter is None else said[parameter.name]
    words = [
        said["op"],
        "" if value is None else f"{drawing.number(value)}",
        f"at {said['sites']}",
        f"tokens: {said['scope']}",
    ]
    return ", ".join(word for word in words if word)


def _problem(title: str, message: str) -> str:
    return drawing.answer(title, "", [], "", message, None)
