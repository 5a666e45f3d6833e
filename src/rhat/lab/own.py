"""The unedited model's own answers to harmless test prompts, as tokens."""

from __future__ import annotations

from collections.abc import Sequence

from rhat.lab.lab import Lab
from rhat.model.plans import TokenIds


def own_answers(lab: Lab, n: int) -> tuple[Sequence[TokenIds], Sequence[TokenIds]]:
    """The first n harmless test prompts, tokenised, and the unedited model's greedy answers to them."""
    prompts = lab.model.tokenize([p.text for p in lab.test("harmless", n)])
    return prompts, lab.measure("baseline", None, "harmless", n).tokens
