"""Matching: the dose of each of many edits at which they do the same damage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING

from rhat.lab.measurement import Doing, Label
from rhat.reprs import one_line

if TYPE_CHECKING:
    from rhat.lab.lab import Lab

Maker = Callable[[float], Doing]  # dose → what is done
ROUNDS = 4
CLOSE = 0.15  # |log(KL / target)| that is close enough
LEAP = 8.0  # times the dose grows or shrinks in one round at most
FLOOR = 1e-9


@dataclass(frozen=True)
class Matched:
    """A dose and the mean KL(base ‖ edited) it made on the prompts of the search; `close` says that it is within CLOSE."""

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
    """The dose of each edit whose mean KL on some prompts is nearest to `target` nats, searched from `doses`.

    KL grows as the square of a small dose: that is the first step; afterwards the line through the last two points in log dose
    and log KL is followed, within the bracket that is known. All edits that are still apart are scored together.
    """
    tried: list[dict[float, float]] = [{} for _ in makers]
    at = [float(dose) for dose in doses]
    left = list(range(len(makers)))
    for _ in range(rounds):
        found = lab.score_each([makers[i](at[i]) for i in left], label, n, split, kl=True, stage=stage)
        for i, (_, kl) in zip(left, found, strict=True):
            assert kl is not None
            tried[i][at[i]] = max(float(kl.mean()), FLOOR)
        left = [i for i in left if abs(_best(tried[i], target)[1]) > CLOSE]
        if not left:
            break
        for i in left:
            at[i] = _next(tried[i], target)
    matched = []
    for points in tried:
        dose, apart = _best(points, target)
        matched.append(Matched(dose, points[dose], abs(apart) <= CLOSE))
    return matched


def _best(points: dict[float, float], target: float) -> tuple[float, float]:
    """The dose nearest to the target so far, and log(KL / target) there."""
    dose = min(points, key=lambda one: abs(log(points[one] / target)))
    return dose, log(points[dose] / target)


def _next(points: dict[float, float], target: float) -> float:
    """Where to look next: along the slope in log dose and log KL, inside the bracket where there is one."""
    dose, apart = _best(points, target)
    slope = 2.0
    if len(points) > 1:
        other = min((d for d in points if d != dose), key=lambda d: abs(log(points[d] / target)))
        slope = (log(points[dose]) - log(points[other])) / (log(dose) - log(other))
        slope = min(8.0, max(0.25, slope))
    step = max(-log(LEAP), min(log(LEAP), -apart / slope))
    wanted = dose * exp(step)
    below = max((d for d in points if points[d] < target), default=0.0)
    above = min((d for d in points if points[d] >= target), default=float("inf"))
    if below < above and not below < wanted < above:
        wanted = (below * above) ** 0.5 if below and above < float("inf") else wanted
    return wanted
