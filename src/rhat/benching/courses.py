"""Courses: how an operator's number goes up from nothing, so that a dose can be searched for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from rhat.directions import Direction
from rhat.errors import InterventionError
from rhat.lab.matching import Tried
from rhat.reprs import one_line
from rhat.vocabulary import OPERATORS, Side

WITHIN = 0.1  # share of the asked KL that the achieved one may be away
NORMAL_ANGLE = 90.0  # degrees to r̂ of a token that has nothing of it


@dataclass(frozen=True)
class Course:
    """An operator's number along its way: `number` of an amount above 0, which is a dose; `room` is the largest there is."""

    op: str
    side: Side
    start: float
    scale: float

    __repr__ = one_line

    def number(self, amount: float) -> float:
        """The operator's number for this amount."""
        way = OPERATORS[self.op].way
        assert way is not None
        return way.number(amount, self.side, self.start, self.scale)

    @property
    def room(self) -> float:
        """The largest amount; 0: the operator does not go that way."""
        way = OPERATORS[self.op].way
        return 0.0 if way is None else way.room(self.side, self.start)

    @property
    def first(self) -> float:
        """Where a search begins."""
        parameter, way = OPERATORS[self.op].parameter, OPERATORS[self.op].way
        assert parameter is not None
        assert way is not None
        if way.still is not None and math.isinf(way.still):
            return 1.0
        if parameter.unit == "degrees":
            return min(10.0, self.room / 2)
        return min(self.scale if parameter.by_means else 0.5, self.room / 2)


def angle_to(unit: Float[Tensor, " d_model"], activations: Float[Tensor, "n d_model"]) -> float:
    """The angle, in degrees, of the mean of these activations to a direction; that of a token without any of it if they have no length."""
    mean = activations.double().mean(0)
    length = float(mean.norm())
    if not length:
        return NORMAL_ANGLE
    return math.degrees(math.acos(max(-1.0, min(1.0, float(mean @ unit.double()) / length))))


def course_of(op: str, direction: Direction, label: str, side: Side, angle: float = NORMAL_ANGLE) -> Course:
    """The way of an operator's number in a direction in which it goes; `angle` is that of a usual token to r̂, in degrees.

    Raises:
        InterventionError: if there is no such operator, it takes no number, or does not go that way.
        DirectionError: if a mean is needed that nobody measured.
    """
    if op not in OPERATORS:
        raise InterventionError(f"operator {op!r}: expected one of {', '.join(OPERATORS)}")
    if OPERATORS[op].way is None:
        able = ", ".join(o.name for o in OPERATORS.values() if o.way is not None)
        raise InterventionError(f"{op}: takes no number, so it has no dose to calibrate; expected one of {able}")
    course = course_along(op, direction, label, side, angle)
    if course.room <= 0:
        other = "answers" if side == "refusal" else "refusal"
        raise InterventionError(
            f"{op}: moves towards {other} only, expected {side}; take another operator, or --towards {other}"
        )
    return course


def course_along(op: str, direction: Direction, label: str, side: Side, angle: float = NORMAL_ANGLE) -> Course:
    """The way of an operator's number from what prompts of that label have, in steps of the gap between the two means.

    `angle` is that of a usual token to r̂, in degrees, for operators that set it.

    Raises:
        DirectionError: if a mean is needed that nobody measured.
    """
    parameter, way = OPERATORS[op].parameter, OPERATORS[op].way
    assert parameter is not None
    assert way is not None
    start = angle
    if parameter.by_means:
        needs = way.still is None or math.isinf(way.still)
        start = (direction.mean_harmful if label in ("harmful", "twin") else direction.mean_harmless) if needs else 0.0
    return Course(op, side, start, abs(_gap(direction)) or 1.0)


def side_of(op: str, label: str) -> Side:
    """Where an operator is taken to go where nobody says: answers of harmful prompts, refusals of others, if it can."""
    wanted: Side = "answers" if label in ("harmful", "twin") else "refusal"
    way = OPERATORS[op].way if op in OPERATORS else None
    if way is None or way.room(wanted, NORMAL_ANGLE) > 0:
        return wanted
    return "refusal" if wanted == "answers" else "answers"


def _gap(direction: Direction) -> float:
    """The distance of the two means along r̂; of a vector nobody measured means of, its own length."""
    if None in direction.means:
        return direction.norm
    return direction.mean_harmful - direction.mean_harmless


def unreached(op: str, course: Course, tried: Tried, kl: float, prompts: str) -> str:
    """Why no dose does, and what can be reached, in one line."""
    parameter = OPERATORS[op].parameter
    assert parameter is not None
    return (
        f"{op}: no {parameter.name} was found that makes a KL of {kl:g} nats on {prompts}: {nearest(course, tried, kl)}; "
        "ask for another KL, or take another operator"
    )


def nearest(course: Course, tried: Tried, kl: float) -> str:
    """The nearest KL on either side of the one that was asked for, with the operator's number there."""
    means = {dose: float(values.mean()) for dose, values in tried.items()}
    below = [dose for dose in means if means[dose] < kl]
    above = [dose for dose in means if means[dose] >= kl]
    if not above:
        most = max(means, key=lambda dose: means[dose])
        return f"the largest is {means[most]:.3g} nats, at {course.number(most):.4g}"
    if not below:
        least = min(means, key=lambda dose: means[dose])
        return f"the smallest is {means[least]:.3g} nats, at {course.number(least):.4g}"
    low, high = max(below, key=lambda dose: means[dose]), min(above, key=lambda dose: means[dose])
    return f"it jumps from {means[low]:.3g} nats at {course.number(low):.4g} to {means[high]:.3g} at {course.number(high):.4g}"
