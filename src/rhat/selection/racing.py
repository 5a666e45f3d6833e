"""Racing: the candidates with the lowest mean score, without scoring each of them on every prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rhat.selection.scored import Place, Values
from rhat.statistics import mean_interval

SURE = 0.999  # of the interval that must lie above 0 before a candidate stops

Take = Callable[[Sequence[Place], int], Sequence[Values]]
"""Given places and the number of a block of prompts: the scores of each on these prompts."""


def looks(n: int, first: int) -> list[range]:
    """n prompts in blocks: `first` of them, as many again, twice as many, and so on. One block where `first` is 0.

    The last block is at least half of those before it, so that no pass is spent on a few prompts.
    """
    ends = []
    while first and 3 * first <= 2 * n:
        ends.append(first)
        first *= 2
    return [range(a, b) for a, b in zip([0, *ends], [*ends, n], strict=True)]


@dataclass(eq=False)
class Race:
    """Scores many candidates block by block, and stops those that are clearly behind.

    After each block the candidate with the lowest mean over the prompts so far leads. Another one stops if the 99.9 %
    interval of its paired difference from the leader lies above 0 (Maron and Moore 1994, Hoeffding races, with the
    interval of a paired mean): both were scored on the same prompts, whose own differences are much larger and fall out. What
    was scored is kept: a candidate goes on from there if those ahead of it are disqualified.

    blocks  the prompts, as `looks` cuts them
    take    scores places on one block
    scores  place → its scores on each block that it ran
    """

    blocks: Sequence[range]
    take: Take
    scores: dict[Place, list[Values]] = field(default_factory=dict)

    def finalists(self, places: Sequence[Place]) -> list[Place]:
        """Those of `places` that never fell clearly behind, scored on every prompt, the lowest mean first."""
        running = list(places)
        for index in range(len(self.blocks)):
            late = [place for place in running if len(self.scores.get(place, ())) <= index]
            if late:
                for place, values in zip(late, self.take(late, index), strict=True):
                    self.scores.setdefault(place, []).append(values)
            if running and index < len(self.blocks) - 1:
                running = self._in_reach(running, self.blocks[index].stop)
        return sorted(running, key=lambda place: float(self.values(place).mean()))

    def values(self, place: Place) -> Values:
        """Its scores on the prompts that it ran, in their order."""
        return np.concatenate(self.scores[place])

    def _in_reach(self, running: Sequence[Place], n: int) -> list[Place]:
        """Those that are not clearly behind the leader over the first n prompts."""
        first = {place: self.values(place)[:n] for place in running}
        leader = first[min(running, key=lambda place: float(first[place].mean()))]
        return [place for place in running if mean_interval(first[place] - leader, SURE).low <= 0]
