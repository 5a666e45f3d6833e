"""Activated: the activations that a lab's experiments share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.executor import cut
from rhat.prompts import Prompt
from rhat.scoring import tasks

if TYPE_CHECKING:
    from rhat.directions import Direction
    from rhat.executor import Executor
    from rhat.lab.measurement import Label
    from rhat.model.chat import ChatModel
    from rhat.model.edits import Edits
    from rhat.selection.finding import Finding
    from rhat.vocabulary import Preset


class Activated:
    """The part of a lab that reads activations."""

    if TYPE_CHECKING:
        model: ChatModel
        finding: Finding
        sizes: Preset
        executor: Executor

        @property
        def direction(self) -> Direction:
            """r̂."""

        def test(self, label: Label, n: int | None = None) -> tuple[Prompt, ...]:
            """Test prompts."""

    def activations(
        self, prompts: Sequence[Prompt], layers: Sequence[int], position: int | None = None, edits: Edits | None = None
    ) -> Float[Tensor, "n layer d_model"]:
        """resid_pre of prompts at one position (r̂'s) and some layers, float32, in order. Keeps n · layers · d_model."""
        position = self.direction.position if position is None else position
        plan = self.model.plan([p.text for p in prompts])
        asked = tasks.Reading(plan.prompts, tuple(layers), position, edits or {})
        out = torch.empty(len(prompts), len(layers), self.model.d_model)
        shards = cut(self.executor.split(len(plan.batches)), tasks.BATCHES)
        for rows, found in self.executor.map(tasks.read, self.model, asked, shards):
            out[rows] = found
        return out

    @cached_property
    def training(self) -> dict[Label, Float[Tensor, "n layer d_model"]]:
        """Activations of the kept training prompts (at most 256 of a label) at r̂'s position and every layer."""
        return {
            label: self.activations(self.finding.kept["train"][label][:256], range(self.model.n_layers))
            for label in ("harmful", "harmless")
        }

    @cached_property
    def testing(self) -> dict[Label, Float[Tensor, "n layer d_model"]]:
        """Activations of the headline test prompts (at most 400 of a label) at r̂'s position and every layer."""
        return {
            label: self.activations(self.test(label, min(self.sizes.headline, 400)), range(self.model.n_layers))
            for label in ("harmful", "harmless")
        }
