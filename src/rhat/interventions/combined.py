"""Combined: several interventions of any kind as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rhat.interventions.intervention import Applied
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits, merge
from rhat.model.plans import TokenIds
from rhat.model.protocol import AnyIntervention, edits_per_prompt


@dataclass(frozen=True, eq=False, repr=False)
class Combined(Applied):
    """Several interventions at once, in order."""

    parts: tuple[AnyIntervention, ...]

    def edits(self, model: ChatModel) -> Edits:
        """All their edits; those of the same site follow one another."""
        return merge(*(part.edits(model) for part in self.parts))

    def per_prompt(self, model: ChatModel, prompts: Sequence[TokenIds]) -> list[Edits | None]:
        """All edits of each prompt; a part that looks at the prompt looks at the unedited one."""
        made: dict[tuple[int, ...], Edits | None] = {}
        found: list[Edits | None] = []
        for own in zip(*(edits_per_prompt(part, model, prompts) for part in self.parts), strict=True):
            some = [edits for edits in own if edits is not None]
            found.append(made.setdefault(tuple(map(id, own)), merge(*some) if some else None))
        return found

    def __repr__(self) -> str:
        return f"Combined({len(self.parts)} interventions: {', '.join(type(part).__name__ for part in self.parts)})"


def combine(parts: Sequence[AnyIntervention]) -> Combined:
    """Several interventions as one."""
    return Combined(tuple(parts))
