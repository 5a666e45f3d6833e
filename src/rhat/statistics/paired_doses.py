"""Paired doses: the dose of half effect where every dose was tried on the same prompts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.errors import StatisticsError
from rhat.statistics.dependence import Groups, named_topics
from rhat.statistics.doses import HalfEffectDose, half_effect_dose, monotone
from rhat.statistics.samples import number_sample

FINE = 100  # doses tried between two neighbours


def half_effect_of_prompts(
    doses: ArrayLike,
    answers: ArrayLike,
    groups: Groups | None = None,
    *,
    min_effect: float = 0.10,
    level: float = 0.95,
    seed: int = 0,
) -> HalfEffectDose | None:
    """`half_effect_dose` of answers [doses, prompts], 1 where one refuses, with an interval that knows that prompts are the same.

    At a dose half way, a prompt's answer less the mean of its answers at both plateaus is 0 on average. The interval holds the doses of
    which that is not rejected, by the mean of these contrasts with its standard error by topic (as in `mean_interval`); Fieller (1954)
    inverts the test of a ratio so. Doses that the fit pools are pooled for each prompt, and between two doses answers are interpolated.
    None where there is hardly an effect; `seed` is of `crossing_share`.

    Raises:
        StatisticsError: as `half_effect_dose`; or if `answers` are no table of 0 and 1 with a row for each dose, or a topic is missing.
    """
    table = np.asarray(answers, dtype=np.float64)
    dose = number_sample(doses, "doses", at_least=2)
    if table.ndim != 2 or len(table) != len(dose) or table.shape[1] < 2 or not np.isin(table, (0, 1)).all():
        raise StatisticsError(
            f"answers: got an array of shape {table.shape} for {len(dose)} doses, expected a row of 0 and 1 for each dose, one for each "
            "prompt, and 2 prompts at least"
        )
    n = table.shape[1]
    topics = np.arange(n) if groups is None or not len(groups) else named_topics(groups)
    if len(topics) != n:
        raise StatisticsError(f"groups: got {len(topics)} for {n} prompts, expected a topic for each")
    found = half_effect_dose(dose, table.mean(1), n, min_effect=min_effect, level=level, draws=50, seed=seed)
    if found is None:
        return None
    order = np.argsort(dose)
    tried, contrasts = _contrasts(dose[order], table[order])
    kept = tried[_not_rejected(contrasts, topics, level)]
    low, high = (
        (min(kept.min(), found.estimate), max(kept.max(), found.estimate)) if len(kept) else (found.estimate,) * 2
    )
    return HalfEffectDose(**{**vars(found), "low": float(low), "high": float(high)})


def _contrasts(
    dose: NDArray[np.float64], table: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Doses between the lowest and the highest, and of each prompt its answer there less the middle of its plateaus."""
    fitted = monotone(table.mean(1), np.full(len(dose), float(table.shape[1])), True)
    pool = np.cumsum(np.diff(fitted, prepend=fitted[0]) > 1e-12)
    pooled = np.stack([table[pool == one].mean(0) for one in pool])
    steps = [np.linspace(a, b, FINE, endpoint=False) for a, b in pairwise(dose)]
    tried = np.append(np.concatenate(steps), dose[-1])
    below = np.clip(np.searchsorted(dose, tried, side="right") - 1, 0, len(dose) - 2)
    part = ((tried - dose[below]) / (dose[below + 1] - dose[below]))[:, None]
    there = (1 - part) * pooled[below] + part * pooled[below + 1]
    return tried, there - (pooled[0] + pooled[-1]) / 2


def _not_rejected(values: NDArray[np.float64], topics: np.ndarray, level: float) -> NDArray[np.bool_]:
    """Of each row of values, whether 0 lies in the interval of its mean by topic; of one topic prompts are taken as independent."""
    from scipy.special import stdtrit

    _, index = np.unique(topics, return_inverse=True)
    index = index.reshape(-1) if index.max() else np.arange(len(topics))
    clusters, mean = int(index.max()) + 1, values.mean(1)
    sums = (values - mean[:, None]) @ np.eye(clusters)[index]
    error = np.sqrt(clusters / (clusters - 1) * np.sum(sums**2, axis=1)) / values.shape[1]
    found: NDArray[np.bool_] = np.abs(mean) <= float(stdtrit(clusters - 1, 0.5 + level / 2)) * error
    return found
