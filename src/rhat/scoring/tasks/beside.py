"""What else a model says under some conditions: how likely given texts are to it, and which questions it answers rightly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rhat.executor import Worker
from rhat.model.edits import Edits
from rhat.model.template import ChatPrompt
from rhat.scoring.capability import Item, option_scores
from rhat.scoring.capability.measure import right_of
from rhat.scoring.drift import cross_entropies
from rhat.scoring.tasks.prompts import Prompts


@dataclass(frozen=True, eq=False)
class Texts:
    """Token ids of prompts, and of how each goes on: the text that is scored; and conditions, each with the edits of all or of each."""

    prompts: Prompts
    completions: Prompts
    conditions: tuple[Edits | tuple[Edits, ...], ...]


@dataclass(frozen=True, eq=False)
class Asked:
    """Items of the capability set and what is done to each; `prompts` are asked in place of the items' own."""

    items: tuple[Item, ...]
    edits: tuple[Edits, ...]
    prompts: tuple[ChatPrompt, ...] | None = None


def entropies(worker: Worker, _task: None, texts: Texts) -> Float[Tensor, "conditions n"]:
    """Mean nats per token of each text under each condition; float64, NaN where a text is empty."""
    return cross_entropies(worker.model, texts.prompts, texts.completions, texts.conditions)


def rightly(worker: Worker, _task: None, asked: Asked) -> Bool[Tensor, " n"]:
    """Of each item, whether the right option is likelier than every other."""
    scores = option_scores(
        worker.model,
        asked.items,
        of_right=True,
        prompts=asked.prompts,
        edits_per_item=asked.edits,
        progress=lambda done, total: worker.tell(done * len(asked.items) // max(1, total)),
    )
    return torch.tensor(right_of(asked.items, scores))
