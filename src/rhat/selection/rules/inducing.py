"""Induce scores, taken in blocks of prompts so that hopeless candidates are given up early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rhat.model.plans import Plan
from rhat.selection.racing import SURE, looks
from rhat.selection.scored import Place
from rhat.selection.search import Field, place_of, planned
from rhat.statistics import Interval, mean_interval


@dataclass(eq=False)
class Induce:
    """Induce scores of candidates on harmless validation prompts, taken in blocks: 8 prompts, the next 8, the next 16 …

    After each block a candidate that is clearly below the threshold drops out: its 99.9 % interval does not reach it. For the
    relaxed rule those go on until it is clear whether they raise scores. Who drops out keeps the score and the number of
    prompts that it has.
    """

    given: Field
    first: int
    scores: dict[Place, list[Tensor]] = field(default_factory=dict)

    @cached_property
    def blocks(self) -> list[Plan]:
        """The prompts, cut after each look."""
        prompts, model = self.given.validation["harmless"], self.given.scorer.model
        return [planned(model, prompts[at.start : at.stop]) for at in looks(len(prompts), self.first)]

    @cached_property
    def before(self) -> Tensor:
        """Refusal scores of the unedited model."""
        return torch.cat([self.given.scorer.scores(some, [{}])[0][0] for some in self.blocks])

    def run(self, candidates: list[dict[str, Any]], stage: str) -> None:
        """All prompts, of every candidate."""
        for index in range(len(self.blocks)):
            self._run(candidates, index, stage)

    def survivors(self, candidates: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
        """The rule that leaves any, and who passes it: the published one, or, where none does, the relaxed one, for which
        every candidate runs on until it is clear."""
        running = candidates
        for index in range(len(self.blocks)):
            last = index == len(self.blocks) - 1
            self._run(running, index, "induce scores" if last else f"induce scores, block {index + 1}")
            if not last:
                running = [c for c in running if self._within_reach(c)]
        passing = [c for c in running if c["induce_score"] > self.given.settings.induce_min]
        if passing:
            return "published", passing
        self.finish(candidates, "induce scores, the rest")
        return "relaxed", [c for c in candidates if c["induce_rise_low"] > 0]

    def kept(self) -> None:
        """Hand over what was measured: every score, and those of the unedited model."""
        self.given.before = self.before.numpy()
        self.given.induce |= {place: torch.cat(parts).numpy() for place, parts in self.scores.items()}

    def finish(self, candidates: Sequence[dict[str, Any]], stage: str) -> None:
        """Run those that dropped out on, until the 99.9 % interval of their rise lies on one side of 0 or no prompts are left."""
        for index in range(1, len(self.blocks)):
            late = [c for c in candidates if len(self.scores[place_of(c)]) == index and not self._clear(c)]
            self._run(late, index, f"{stage}, {index}")

    def complete(self, candidate: dict[str, Any]) -> None:
        """Give one the prompts that it has not had."""
        for index in range(len(self.scores[place_of(candidate)]), len(self.blocks)):
            self._run([candidate], index, "")

    def _clear(self, candidate: dict[str, Any]) -> bool:
        """Whether it is sure that adding it raises refusal scores, or that it does not."""
        rise = self._rise(candidate, SURE)
        return rise.low > 0 or rise.high < 0

    def _rise(self, candidate: dict[str, Any], confidence: float = 0.95) -> Interval:
        after = torch.cat(self.scores[place_of(candidate)])
        return mean_interval((after - self.before[: len(after)]).numpy(), confidence)

    def _within_reach(self, candidate: dict[str, Any]) -> bool:
        """Whether the mean score over all prompts may still be the threshold: the unedited model's mean, known over all of
        them, plus the 99.9 % interval of the rise over those so far. Rises vary far less than scores do."""
        return float(self.before.mean()) + self._rise(candidate, SURE).high >= self.given.settings.induce_min

    def _run(self, candidates: Sequence[dict[str, Any]], index: int, stage: str) -> None:
        """One block of prompts with each candidate added at its own layer."""
        if not candidates:
            return
        layers = sorted({c["layer"] for c in candidates})
        found = self.given.scorer.scores(self.blocks[index], self.given.added(candidates), stage, resume=layers)
        for candidate, (scores, _) in zip(candidates, found, strict=True):
            so_far = self.scores.setdefault(place_of(candidate), [])
            so_far.append(scores)
            after = torch.cat(so_far)
            candidate["induce_score"], candidate["induce_n"] = float(after.mean()), len(after)
            rise = self._rise(candidate)
            candidate["induce_rise"], candidate["induce_rise_low"] = rise.estimate, rise.low
