"""Ranking: how well a score puts positives above negatives."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.reprs import one_line
from rhat.statistics.dependence import Groups, by_topic
from rhat.statistics.intervals import Interval
from rhat.statistics.samples import check_level, number_sample


@dataclass(frozen=True)
class Auroc(Interval):
    """An area under the ROC curve, with its interval.

    1 where every positive scores higher than every negative, 0.5 at chance, 0 where every one is lower.
    `n` = `n_positive` + `n_negative`. `method` says where the limits come from: "delong" or "disjoint_pairs".
    """

    n_positive: int
    n_negative: int
    method: str

    __repr__ = one_line


@dataclass(frozen=True)
class RocCurve:
    """Both rates at every threshold, from (0, 0) to (1, 1); a prompt is flagged where its score > threshold.

    `thresholds` are the distinct scores downwards and then −inf; the two rates (shares, 0 to 1) never fall.
    """

    thresholds: NDArray[np.float64]
    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    n_positive: int
    n_negative: int

    __repr__ = one_line


def auroc(
    positive: ArrayLike,
    negative: ArrayLike,
    level: float = 0.95,
    *,
    groups: tuple[Groups, Groups] | None = None,
) -> Auroc:
    """P(positive > negative) + ½ P(equal), with DeLong's variance on the logit scale.

    The AUROC is the Mann–Whitney U over its maximum, by midranks (Sun and Xu 2014); its variance is DeLong's
    (1988) sum of the variances of the placement values of both sides. The limits are those of logit(AUROC) ±
    z · se / (A (1 − A)), put back, so they stay within 0 and 1.

    That variance is 0 at perfect separation (and when all scores tie) and undefined with one prompt on a
    side, which would claim certainty. There the limits are Clopper–Pearson's for A · m successes among m =
    min(n₊, n₋) pairs that share no prompt: at A = 1, low = (α/2)^(1/m), high = 1. This is exact for perfect
    separation, since m such pairs are all in order with probability Aᵐ; it is wider than DeLong's just below
    it.

    `groups` are the topics of the positives and of the negatives: the placement values of one topic, on both sides, are then added up
    before their variance is taken (Obuchowski 1997, Biometrics 53:567). Where every prompt has a topic of its own that is DeLong's, and
    in the exact limits topics stand for prompts.

    Raises:
        StatisticsError: a side without prompts, a NaN or an infinity, or not one topic for each prompt.
    """
    check_level(level)
    above, below = number_sample(positive, "positive"), number_sample(negative, "negative")
    from scipy.special import ndtri
    from scipy.stats import beta, rankdata

    n_pos, n_neg = len(above), len(below)
    ranks = rankdata(np.concatenate([above, below]))
    # Placement values: the share of the other side that each prompt beats, ties counting one half.
    beats = (ranks[:n_pos] - rankdata(above)) / n_neg
    beaten = 1 - (ranks[n_pos:] - rankdata(below)) / n_pos
    area = float(beats.mean())
    variance, units = placement_variance(beats, beaten, groups)
    # Rounding leaves 1e-32 or so where the variance is 0; the smallest real one is far above that.
    if variance > 1e-20 and 0 < area < 1:
        half = float(ndtri(0.5 + level / 2)) * variance**0.5 / (area * (1 - area))
        centre = np.log(area / (1 - area))
        low, high = (float(1 / (1 + np.exp(-(centre + side)))) for side in (-half, half))
        method = "delong"
    else:
        pairs, tail = units, (1 - level) / 2
        wins = area * pairs
        low = float(beta.ppf(tail, wins, pairs - wins + 1)) if area > 0 else 0.0
        high = float(beta.ppf(1 - tail, wins + 1, pairs - wins)) if area < 1 else 1.0
        method = "disjoint_pairs"
    return Auroc(estimate=area, low=low, high=high, n=n_pos + n_neg, n_positive=n_pos, n_negative=n_neg, method=method)


def placement_variance(
    beats: NDArray[np.float64], beaten: NDArray[np.float64], groups: tuple[Groups, Groups] | None
) -> tuple[float, int]:
    """Variance of an area (or of a difference of two) from the placement values of both sides, whose means are alike; and the
    prompts (or topics) of the side that has fewer. 0 where there is one of them only."""
    n_pos, n_neg = len(beats), len(beaten)
    if groups is None:
        units = min(n_pos, n_neg)
        return (float(beats.var(ddof=1) / n_pos + beaten.var(ddof=1) / n_neg) if units > 1 else 0.0), units
    for values, some in zip((beats, beaten), groups, strict=True):
        by_topic(values, some)
    topics, index = np.unique(np.concatenate([np.asarray(some).astype(str) for some in groups]), return_inverse=True)
    sides = index[:n_pos], index[n_pos:]
    area = beats.mean()
    sums = [
        np.bincount(of, weights=v - area, minlength=len(topics)) for of, v in zip(sides, (beats, beaten), strict=True)
    ]
    counts = [len(np.unique(of)) for of in sides]
    units = min(counts)
    if units < 2:
        return 0.0, units
    own = [k / (k - 1) * np.sum(s**2) / n**2 for k, s, n in zip(counts, sums, (n_pos, n_neg), strict=True)]
    both = len(topics) / (len(topics) - 1) * np.sum(sums[0] * sums[1]) / (n_pos * n_neg)
    return max(0.0, float(own[0] + own[1] + 2 * both)), units


def roc_curve(positive: ArrayLike, negative: ArrayLike) -> RocCurve:
    """Share of positives and of negatives that score above each threshold; tied scores are one step.

    Raises:
        StatisticsError: a side without prompts, or a NaN or an infinity.
    """
    above, below = np.sort(number_sample(positive, "positive")), np.sort(number_sample(negative, "negative"))
    thresholds = np.append(np.unique(np.concatenate([above, below]))[::-1], -np.inf)
    return RocCurve(
        thresholds=thresholds,
        false_positive_rate=1 - np.searchsorted(below, thresholds, side="right") / len(below),
        true_positive_rate=1 - np.searchsorted(above, thresholds, side="right") / len(above),
        n_positive=len(above),
        n_negative=len(below),
    )
