"""Checking an export: the other tool's arithmetic from the file alone, against rhat's own, on the model's logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.capture import logits
from rhat.errors import InterventionError
from rhat.interventions import Intervention
from rhat.model.chat import ChatModel
from rhat.vectors.table import format_named

PROMPTS = ("Name three rivers.", "Why is the sky blue at noon?", "Write a haiku about the sea.", "What is 7 times 8?")


@dataclass(frozen=True)
class Check:
    """How far the file's logits are from rhat's, in the largest absolute difference over prompts and tokens.

    difference  with the file against with the intervention
    moved       with the intervention against without: what a file that did nothing would be off by
    tolerance   the largest difference that rounding in the model's precision explains
    """

    difference: float
    moved: float
    tolerance: float
    n_prompts: int

    @property
    def agrees(self) -> bool:
        """Whether the difference is rounding, and the intervention did something at all."""
        return self.difference <= self.tolerance < self.moved

    @property
    def differs(self) -> bool:
        """Whether the difference is more than rounding."""
        return self.difference > self.tolerance


def check(
    format: str, path: str | Path, doing: Intervention, model: ChatModel, prompts: Sequence[str] = PROMPTS
) -> Check:
    """Apply the file as the other tool would, and compare next-token logits with rhat's own.

    Prompts run one by one, without padding. rhat's side is its own path (batches, shared prefixes); the file's side is
    plain transformers with the outputs of named modules replaced.

    Raises:
        InterventionError: if there is nothing to run for the format.
    """
    record = format_named(format)
    if record.run is None:
        raise InterventionError(f"{format}: has no arithmetic of its own to check")
    with record.run(Path(path), model):
        theirs = _plain(model, prompts)
    ours, without = logits(model, prompts, doing), _plain(model, prompts)
    moved = float((ours - without).abs().max())
    tolerance = torch.finfo(model.dtype).eps ** 0.5 * max(moved, float(without.abs().max()))
    return Check(float((theirs - ours).abs().max()), moved, tolerance, len(prompts))


def _plain(model: ChatModel, prompts: Sequence[str]) -> Float[Tensor, "n vocab"]:
    rows = []
    with torch.no_grad():
        for ids in model.tokenize(prompts):
            given = torch.tensor([ids], device=model.device)
            rows.append(model.hf(input_ids=given, use_cache=False).logits[0, -1].float().cpu())
    return torch.stack(rows)
