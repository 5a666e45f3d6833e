"""Which interventions of a job are on, and the edits that they make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from rhat.guard import prompt_projections
from rhat.interventions import combine
from rhat.model import ChatModel
from rhat.model.edits import Edits
from rhat.server.jobs import GenerationJob
from rhat.server.options import Part

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
