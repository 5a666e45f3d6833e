"""Which interventions of a job are on, and the edits that they make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rhat.generation import Request, prompt_logprobs
from rhat.guard import prompt_projections
from rhat.interventions import combine
from rhat.model import ChatModel
from rhat.model.edits import Edits
from rhat.server.events import AnswerToken
from rhat.server.jobs import GenerationJob, PendingJob
from rhat.server.options import Part
from rhat.server.waiting import Joining

KEPT_EDITS = 64


class Interventions:
    """What the interventions of requests come to on one model; belongs to the engine thread."""

    def __init__(self, model: ChatModel) -> None:
        self.model = model
        self._kept: OrderedDict[tuple[Any, ...], Edits] = OrderedDict()

    def applied(self, asks: Sequence[GenerationJob]) -> list[tuple[bool, ...]]:
        """For each answer, which of its interventions are on: prompts with a gate are read first, unedited."""
        read: dict[tuple[int, tuple[int, ...]], float] = {}
        for ask in asks:
            for part in ask.parts:
                if part.gate is not None:
                    key = (id(part.gate.direction), ask.request.tokens)
                    if key not in read:
                        read[key] = float(prompt_projections(self.model, part.gate.direction, [ask.request.tokens])[0])

        def on(ask: GenerationJob, part: Part) -> bool:
            if part.gate is None:
                return True
            return bool(part.gate.opens_at([read[id(part.gate.direction), ask.request.tokens]])[0])

        return [tuple(on(ask, part) for part in ask.parts) for ask in asks]

    def pending(self, joining: Joining) -> PendingJob:
        """Answers that join: their edits, and what is read of their prompts."""
        asks = joining.asks
        applied = self.applied(asks)
        requests = [
            replace(ask.request, edits=self.edits([p for p, on in zip(ask.parts, ons, strict=True) if on]))
            for ask, ons in zip(asks, applied, strict=True)
        ]
        echoes = [
            None if ask.echo is None else self._echo(request, ask.echo)
            for ask, request in zip(asks, requests, strict=True)
        ]
        return PendingJob(joining.ticket, joining.first, asks, applied, requests, echoes)

    def _echo(self, request: Request, pieces: Sequence[str]) -> tuple[AnswerToken, ...]:
        """A prompt's tokens with their log-probabilities under the request's edits."""
        [noted] = prompt_logprobs(self.model, [request.tokens], request.logprobs or 0, request.edits)
        first = AnswerToken(request.tokens[0], pieces[0])
        rest = (
            AnswerToken(one.token, piece, one.logprob, one.top) for one, piece in zip(noted, pieces[1:], strict=True)
        )
        return (first, *rest)

    def edits(self, parts: Sequence[Part]) -> Edits | None:
        """The edits of these interventions; the same mapping for the same ones, so that their rows are edited together."""
        if not parts:
            return None
        key = tuple(part.key for part in parts)
        if key not in self._kept:
            self._kept[key] = combine([part.intervention for part in parts]).edits(self.model)
            if len(self._kept) > KEPT_EDITS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
