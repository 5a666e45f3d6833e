"""A prompt answered twice, plain and with an intervention, drawn while both are written; and the next turn of both conversations."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
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
from rhat.server.playground.controls import CERTIFIED, scale
from rhat.server.playground.conversation import Conversation, Turn
from rhat.server.service import Service
from rhat.server.specs import InterventionSpec
from rhat.vocabulary import OPERATORS

EVERY = 0.08  # seconds between updates of the page
ENDS = {"stop": "finished", "length": "stopped at the number of tokens"}
assert set(FINISH.values()) == set(ENDS)


@dataclass(frozen=True)
class Shown:
    """What the page shows: the scale and both sides as HTML, what is going on in a line, and the conversation so far."""

    scale: str
    sides: tuple[str, str]
    status: str
    conversation: Conversation


async def answers(service: Service, given: dict[str, Any], before: Conversation | None = None) -> AsyncIterator[Shown]:
    """The answers to the prompt, again and again while they are written; after `before`, as the next turn of both conversations."""
    name = given["direction"] or next(iter(service.directions.started))
    system = str(given["system"] or "").strip()
    earlier = before or Conversation(system)
    user = str(given["prompt"] or "")

    def problem(message: str) -> Shown:
        told = earlier.went_on(Turn(user, ("", ""), (drawing.problem(message),) * 2)).drawn()
        return Shown(scale(service, name, None), told, message, earlier)

    if not user.strip():
        yield problem("Type a prompt first.")
        return
    try:
        try:
            async for shown in _written(service, given, name, earlier, user):
                yield shown
        except RequestError as error:
            raise RhatError(error.detail) from error
    except (RhatError, ValueError) as error:
        yield problem(str(error))


async def _written(
    service: Service, given: dict[str, Any], name: str, earlier: Conversation, user: str
) -> AsyncIterator[Shown]:
    direction = service.directions.started[name]
    began = time.monotonic()
    part = service.directions.part(_spec(given, name))
    temperature = float(given["temperature"] or 0)
    sampling = Sampling(temperature, seed=int(given["seed"] or 0)) if temperature else None
    jobs = []
    for side, parts in enumerate(((), (part,))):
        tokens = await service.chat_tokens(earlier.messages(side, user))
        new = service.room(tokens, int(given["max_tokens"]))
        probe = Probe(direction.site, direction.unit)
        request = GenerationRequest(tokens, new, sampling=sampling, stop=(), probe=probe)
        jobs.append(GenerationJob(request, parts, direction.position))
    choices = [Choice(), Choice()]
    notes = ("no intervention", _describe(part))

    def shown(status: str = "Answering …") -> Shown:
        prompt = choices[0].prompt
        plain, edited = (_drawn(note, choice, direction) for note, choice in zip(notes, choices, strict=True))
        texts = "".join(choices[0].text), "".join(choices[1].text)
        now = earlier.went_on(Turn(user, texts, (plain, edited)))
        return Shown(scale(service, name, None if prompt is None else prompt[0]), now.drawn(), status, now)

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
    seconds = max(0.1, time.monotonic() - began)
    yield shown(f"Both answers are complete, in {seconds:.1f} s.")
    log(
        "playground",
        id=secrets.token_hex(8),
        seconds=round(seconds, 3),
        completion_tokens=sum(choice.n_tokens for choice in choices),
        interventions=[part.describe()],
    )


def _drawn(note: str, choice: Choice, direction: Direction) -> str:
    busy = choice.finish_reason is None
    state = "waiting …" if not choice.started else "writing …"
    if choice.finish_reason is not None:
        state = f"{choice.n_tokens} tokens, {ENDS[choice.finish_reason]}"
    if choice.applied and not all(choice.applied):
        note += " (not applied: the prompt is on the other side of the threshold)"
    rest = "".join(choice.text)[sum(len(token.text) for token in choice.tokens) :]
    return drawing.answer(note, choice.tokens, rest, state, direction, busy=busy)


def _spec(given: dict[str, Any], name: str) -> InterventionSpec:
    if given["when"] == CERTIFIED:
        return InterventionSpec.model_validate({"op": "set_projection", "direction": name, "when": "certified"})
    operator = OPERATORS[given["op"]]
    parameter = operator.parameter
    where = given["where"] or ("all layers" if operator.everywhere else "own layer")
    if parameter is not None and given["target"] is None:
        raise RhatError(f"{parameter.label}: got nothing, expected a number; move the slider or type one")
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
