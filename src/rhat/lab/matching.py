"""Matching: the dose of each of many edits at which they do the same damage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, log
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from rhat.lab.measurement import Label, Treatment
from rhat.reprs import one_line

if TYPE_CHECKING:
    from rhat.lab.lab import Lab

Maker = Callable[[float], Treatment]  # dose → what is done
Tried = Mapping[float, Float[np.ndarray, " n"]]  # dose → KL of each prompt, nats
Measure = Callable[[Sequence[Treatment]], Sequence[Float[np.ndarray, " n"]]]  # what is done → KL of each prompt, nats
ROUNDS = 4
CLOSE = 0.15  # |log(KL / target)| that is close enough
LEAP = 8.0  # times the dose grows or shrinks in one round at most
STEEP = 8.0  # the steepest slope that is followed to where nothing was tried
FLOOR = 1e-9
SAME = 1e-6  # doses closer than this share of each other are one


@dataclass(frozen=True)
class Matched:
    """A dose and the mean KL(base ‖ edited) it made on the prompts of the search; `close` says that it is close enough."""

    dose: float
    kl: float
    close: bool

    __repr__ = one_line


def matched_doses(
    lab: Lab,
    makers: Sequence[Maker],
    doses: Sequence[float],
    target: float,
    label: Label,
    n: int,
    split: str = "validation",
    *,
    rounds: int = ROUNDS,
    stage: str = "",
) -> list[Matched]:
    """The dose of each edit whose mean KL on some prompts is nearest to `target` nats, searched from `doses`."""

    def measure(treatments: Sequence[Any]) -> list[np.ndarray]:
        found = lab.score_conditions(treatments, label, n, split, kl=True, stage=stage)
        return [kl for _, kl in found if kl is not None]

    return [best_of(tried, target) for tried in search_doses(measure, makers, doses, target, rounds=rounds)]


def search_doses(
    measure: Measure,
    makers: Sequence[Maker],
    doses: Sequence[float],
    target: float,
    *,
    rounds: int = ROUNDS,
    close: float = CLOSE,
    most: Sequence[float] | None = None,
    tried: Sequence[dict[float, np.ndarray]] | None = None,
) -> list[dict[float, np.ndarray]]:
    """Every dose above 0 that was tried of each edit, with the KL of each prompt there; the last ones are nearest to `target` nats.

    KL grows as the square of a small dose: that is the first step; afterwards the line through the last two points in log dose
    and log KL is followed, within the bracket that is known. All edits that are still apart are scored together, for so many
    rounds at most, until |log(mean KL / target)| ≤ `close`. `most` are doses that are not passed: an edit that does too little
    there is left. `tried` is what an earlier search of the same edits found.
    """
    ends = [inf] * len(makers) if most is None else most
    known = [dict(points) for points in tried] if tried is not None else [{} for _ in makers]
    at = [min(float(dose), end) for dose, end in zip(doses, ends, strict=True)]
    for i, points in enumerate(known):
        if points and not best_of(points, target, close).close:
            at[i] = min(_next(_means(points), target), ends[i])
    left = [i for i, points in enumerate(known) if not (points and best_of(points, target, close).close)]
    for _ in range(rounds):
        left = [i for i in left if not any(abs(at[i] - dose) <= SAME * dose for dose in known[i])]
        if not left:
            break
        for i, kl in zip(left, measure([makers[i](at[i]) for i in left]), strict=True):
            known[i][at[i]] = kl
        left = [i for i in left if not best_of(known[i], target, close).close]
        for i in left:
            at[i] = min(_next(_means(known[i]), target), ends[i])
    return known


def best_of(tried: Tried, target: float, close: float = CLOSE) -> Matched:
    """The dose whose mean KL is nearest to the target, of those that were tried."""
    means = _means(tried)
    dose, apart = _best(means, target)
    return Matched(dose, means[dose], abs(apart) <= close)


def _means(tried: Tried) -> dict[float, float]:
    return {dose: max(float(kl.mean()), FLOOR) for dose, kl in tried.items()}


def _best(points: dict[float, float], target: float) -> tuple[float, float]:
    """The dose nearest to the target so far, and log(KL / target) there."""
    dose = min(points, key=lambda one: abs(log(points[one] / target)))
    return dose, log(points[dose] / target)


def _next(points: dict[float, float], target: float) -> float:
    """Where to look next: along the slope in log dose and log KL, inside the bracket where there is one."""
    dose, apart = _best(points, target)
    below = max((d for d in points if points[d] < target), default=0.0)
    above = min((d for d in points if points[d] >= target), default=inf)
    inside = 0 < below < above < inf
    slope = 2.0
    if len(points) > 1:
        other = min((d for d in points if d != dose), key=lambda d: abs(log(points[d] / target)))
        slope = (log(points[dose]) - log(points[other])) / (log(dose) - log(other))
        slope = min(inf if inside else STEEP, max(0.25, slope))  # inside a bracket no slope is too steep
    step = max(-log(LEAP), min(log(LEAP), -apart / slope))
    wanted = dose * exp(step)
    if below < above and not below < wanted < above:
        wanted = (below * above) ** 0.5 if inside else wanted
    return wanted
