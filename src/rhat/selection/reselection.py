"""Reselection: which candidate would have been chosen on other validation prompts, from the scores that the search stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from rhat.prompts import Prompt
from rhat.selection.means import Means
from rhat.selection.scored import Place, Scored, Values
from rhat.selection.search import Scorer, ablations, planned
from rhat.selection.settings import FindSettings
from rhat.statistics import mean_interval

RULES = ("published", "relaxed")
"""The rules by which it can be chosen again."""

Draw = dict[str, Int[np.ndarray, " _"]]
"""Label → which kept validation prompts, some of them several times."""

Measure = Callable[[Sequence[Place], str], list[Values]]


def ablating(scorer: Scorer, means: Means, validation: Mapping[str, Sequence[Prompt]]) -> Measure:
    """What a reselection measures with: one pass with each candidate ablated."""

    def measure(places: Sequence[Place], label: str) -> list[Values]:
        treatments, harmless = ablations(scorer.model, means, places), label == "harmless"
        found = scorer.scores(planned(scorer.model, validation[label]), treatments, "reselection", kl=harmless)
        return [(kl if harmless and kl is not None else scores).numpy() for scores, kl in found]

    return measure


@dataclass(eq=False)
class Reselection:
    """Chooses again by the rule that chose, on samples of the validation prompts.

    What the search needed is stored and not measured again. Ablation scores and KL of candidates that it did not need are
    measured once, when a sample needs them: the choice is that of the whole table. A candidate whose induce scores
    were stopped early lies so far below the threshold that it stays out, and so does one whose ablation scores were stopped early,
    behind the leader. For the relaxed rule a candidate has as many induce scores as made it clear.

    rule     "published" or "relaxed", the one by which r̂ was chosen
    measure  given places and a label: scores of harmful prompts, or KL of harmless ones, with each candidate ablated
    """

    scored: Scored
    rule: str
    measure: Measure
    settings: FindSettings = field(default_factory=FindSettings)

    def __post_init__(self) -> None:
        self._ablation, self._kl = dict(self.scored.ablation), dict(self.scored.kl)
        self._harmful = max(
            map(len, self._ablation.values()), default=0
        )  # prompts that a candidate ran which did not stop early

    def choices(self, draws: Sequence[Draw]) -> list[Place | None]:
        """The layer and position that wins on each sample; None where no candidate passes the rules."""
        passing = [[p for p in self.scored.induce if self._induces(p, draw["harmless"])] for draw in draws]
        self._measure_ablation([place for some in passing for place in some])
        orders = [
            sorted(some, key=lambda place, at=draw["harmful"]: float(self._ablation[place][at].mean()))  # type: ignore[misc]
            for some, draw in zip(passing, draws, strict=True)
        ]
        while True:
            found = [self._first(order, draw["harmless"]) for order, draw in zip(orders, draws, strict=True)]
            missing = [place for place, known in found if place is not None and not known]
            if not missing:
                return [place for place, _ in found]
            self._measure_kl(missing)

    def _induces(self, place: Place, at: Int[np.ndarray, " _"]) -> bool:
        after, before = self.scored.induce[place], self.scored.before
        if len(self._ablation.get(place, ())) < self._harmful and place in self._ablation:
            return False
        if self.rule == "relaxed":
            mine = at[at < len(after)]  # a sample of the prompts that made it clear
            return len(mine) > 1 and mean_interval((after - before[: len(after)])[mine]).low > 0
        return len(after) == len(before) and float(after[at].mean()) > self.settings.induce_min

    def _first(self, order: Sequence[Place], at: Int[np.ndarray, " _"]) -> tuple[Place | None, bool]:
        """The first that passes by KL, and whether its KL is known; one whose is not comes first of all after it."""
        for place in order:
            kl = self._kl.get(place)
            if kl is None:
                return place, False
            if float(kl[at].mean()) <= self.settings.kl_max:
                return place, True
        return None, True

    def _measure_ablation(self, places: Sequence[Place]) -> None:
        new = [place for place in dict.fromkeys(places) if place not in self._ablation]
        if new:
            self._ablation |= dict(zip(new, self.measure(new, "harmful"), strict=True))

    def _measure_kl(self, places: Sequence[Place]) -> None:
        new = list(dict.fromkeys(places))
        self._kl |= dict(zip(new, self.measure(new, "harmless"), strict=True))
