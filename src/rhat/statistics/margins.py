"""Margins: how surely a paired difference is smaller than what matters, as p values of one-sided tests."""

from __future__ import annotations

from dataclasses import dataclass

from rhat.errors import StatisticsError
from rhat.statistics.dependence import check_design_effect
from rhat.statistics.paired import mcnemar_exact
from rhat.statistics.samples import check_discordant, is_between
from rhat.statistics.score import score_statistic


@dataclass(frozen=True)
class MarginTests:
    """The two one-sided tests of a paired difference of rates against ±margin, each by Tango's score statistic.

    above_p      of the null "treatment − reference ≤ −margin": small where the treatment is shown not to be less by the margin
    below_p      of the null "treatment − reference ≥ margin": small where it is shown not to be more by the margin
    """

    above_p: float
    below_p: float

    @property
    def equivalence_p(self) -> float:
        """p of "the difference is smaller than the margin", either way: the larger of the two (Schuirmann 1987)."""
        return max(self.above_p, self.below_p)


def margin_tests(b: int, c: int, n: int, margin: float, design_effect: float = 1.0) -> MarginTests:
    """One-sided p values of the paired difference (b − c) / n against −margin and +margin.

    Each is below 5 % just where the 90 % Tango interval leaves that limit out, so they are the p values of `within_margin` and
    `noninferior`, with the same design effect. At margin 0 nothing can be shown to be smaller, and both are 1.

    Raises:
        StatisticsError: if b and c are not counts among n pairs, or margin is outside [0, 1).
    """
    check_discordant(b, c, 0 if n is None else n)
    if margin != 0 and not is_between(margin, 0.0, 1.0):
        raise StatisticsError(f"margin: got {margin}, expected a share from 0 to below 1; 10 points is margin=0.10")
    if margin == 0:
        return MarginTests(1.0, 1.0)
    from scipy.special import ndtr

    check_design_effect(design_effect)
    b, c, n = (count / design_effect for count in (b, c, n))  # type: ignore[assignment]
    above, below = (float(score_statistic(b, c, n, limit)) for limit in (-margin, margin))
    return MarginTests(float(ndtr(-above)), float(ndtr(below)))


def direction_p(b: int, c: int) -> float:
    """p of "the treatment is more often true": twice the exact one-sided McNemar p, at most 1.

    Where b ≥ c it is the two-sided p, so that a claim of one direction asks for as much as a difference told either way.

    Raises:
        StatisticsError: if b or c is no count.
    """
    check_discordant(b, c, None)
    return mcnemar_exact(b, c) if b >= c else 1.0
