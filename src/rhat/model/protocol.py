"""What every kind of intervention is to the code that applies it: edits, which may differ from prompt to prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from rhat.model.chat import AnyIntervention, ChatModel
from rhat.model.edits import Edits
from rhat.model.plans import TokenIds


@runtime_checkable
class PerPrompt(AnyIntervention, Protocol):
    """An intervention that looks at each prompt before it decides what to edit."""

    def per_prompt(self, model: ChatModel, prompts: Sequence[TokenIds]) -> Sequence[Edits | None]:
        """Each tokenised prompt's own edits; None where there are none."""
        ...


def edits_per_prompt(
    intervention: AnyIntervention | None, model: ChatModel, prompts: Sequence[TokenIds]
) -> list[Edits | None]:
    """The edits of each tokenised prompt under an intervention of any kind; prompts that are edited alike share one mapping."""
    if isinstance(intervention, PerPrompt):
        return list(intervention.per_prompt(model, prompts))
    return [None if intervention is None else intervention.edits(model)] * len(prompts)


def edited_alike(
    intervention: AnyIntervention | None, model: ChatModel, prompts: Sequence[TokenIds]
) -> list[tuple[list[int], Edits | None]]:
    """The prompts' numbers in groups that have the same edits, with those."""
    groups: dict[int, tuple[list[int], Edits | None]] = {}
    for index, edits in enumerate(edits_per_prompt(intervention, model, prompts)):
        groups.setdefault(id(edits), ([], edits))[0].append(index)
    return list(groups.values())


__all__ = ["AnyIntervention", "PerPrompt", "edited_alike", "edits_per_prompt"]
