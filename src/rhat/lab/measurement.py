"""A measurement: one condition on one set of prompts; and what is done to a model in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rhat.interventions import AnyIntervention
from rhat.reprs import one_line
from rhat.sites import Site

Label = str
Doing = AnyIntervention | Mapping[Site, Any] | None  # an intervention, ready edits, or nothing
KL_PROMPTS = 256  # so many prompts' baseline logits are held, whatever the number of prompts


@dataclass(frozen=True, eq=False)
class Dealt:
    """Many controls for the price of one: prompt i gets intervention i mod len(doings)."""

    doings: tuple[Doing, ...]

    __repr__ = one_line


@dataclass(frozen=True, eq=False)
class Measurement:
    """One condition on one set of prompts, prompt by prompt.

    scores are refusal scores (nats); kl is KL(base ‖ edited) of the next token, of the first KL_PROMPTS prompts at most.
    """

    condition: str
    label: Label
    prompt_ids: tuple[str, ...]
    scores: np.ndarray
    verdicts: tuple[str, ...] = ()
    kl: np.ndarray | None = None
    texts: tuple[str, ...] = ()
    tokens: tuple[tuple[int, ...], ...] = ()

    __repr__ = one_line

    @property
    def refused(self) -> np.ndarray:
        """True where the completion refuses."""
        return np.array([v == "refused" for v in self.verdicts], dtype=bool)

    def first(self, n: int) -> Measurement:
        """The same of the first n prompts (subsets of test prompts are nested)."""
        return Measurement(
            self.condition,
            self.label,
            self.prompt_ids[:n],
            self.scores[:n],
            self.verdicts[:n],
            None if self.kl is None else self.kl[:n],
            self.texts[:n],
            self.tokens[:n],
        )
