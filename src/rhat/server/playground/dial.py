"""The slider: α between the two means, or an operator's plain factor, and the number in projection's units that it comes to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from rhat.directions import Direction
from rhat.server.playground.drawing import number
from rhat.vocabulary import OPERATORS

SPAN = (-1.0, 2.0)  # of α: the doses that a study measures


@dataclass(frozen=True)
class Dial:
    """How the slider's position becomes the operator's number: zero + position × unit.

    zero      the number at position 0, in residual-stream units
    unit      what one step of α is: the gap between the means; 1 for a plain factor
    decimals  of the number, so that a hundredth of α can be told apart
    low       the slider's ends
    start     its default
    """

    zero: float
    unit: float
    decimals: int
    low: float
    high: float
    start: float

    @classmethod
    def of(cls, direction: Direction, operator: str) -> Dial:
        """The dial of an operator's number on a direction."""
        parameter = OPERATORS[operator].parameter
        if parameter is not None and parameter.span is not None:
            low, high = parameter.span
            return cls(0.0, 1.0, 2, low, high, 1.0 if parameter.default is None else parameter.default)
        means = direction.mean_harmful, direction.mean_harmless
        zero, one = (0.0, means[0] - means[1]) if parameter is None else (parameter.at(a, *means) for a in (0, 1))
        unit = (one - zero) or 1.0
        start = 0.0 if parameter is not None and parameter.mean == "harmless" else 1.0
        return cls(zero, unit, max(2, 2 - math.floor(math.log10(abs(unit)))), *SPAN, start)

    def value(self, position: float) -> float:
        """The operator's number at a position."""
        return round(self.zero + position * self.unit, self.decimals)

    def position(self, value: float) -> float:
        """Where a number stands on the slider, held between its ends."""
        return round(min(self.high, max(self.low, (value - self.zero) / self.unit)), 2)


def dials(known: dict[str, Direction]) -> dict[str, dict[str, Any]]:
    """All dials, for the page's script: direction → operator → dial."""
    return {
        name: {o.name: asdict(Dial.of(r, o.name)) for o in OPERATORS.values() if o.parameter is not None}
        for name, r in known.items()
    }


def is_by_means(operator: str) -> bool:
    """Whether the slider of an operator is in α."""
    parameter = OPERATORS[operator].parameter
    return parameter is not None and parameter.by_means


def slider_label(operator: str) -> str:
    """What the slider is called under an operator."""
    parameter = OPERATORS[operator].parameter
    if parameter is None:
        return ""
    if not parameter.by_means:
        return parameter.label
    return "α: 0 = harmless mean, 1 = harmful mean" if parameter.origin else "α: 1 = the gap between the means"


def number_label(operator: str) -> str:
    """What the number beside the slider is called."""
    parameter = OPERATORS[operator].parameter
    return "" if parameter is None else f"{parameter.symbol}, in units" if parameter.by_means else parameter.symbol


def updates(direction: Direction, operator: str, value: float | None = None) -> tuple[Any, Any, Any]:
    """Updates of the slider, of the number beside it, and of the marks below, at a number; None: the default."""
    dial = Dial.of(direction, operator)
    position = dial.start if value is None else dial.position(value)
    by_means, some = is_by_means(operator), OPERATORS[operator].parameter is not None
    shown = gr.update(minimum=dial.low, maximum=dial.high, value=position, label=slider_label(operator), visible=some)
    said = gr.update(
        value=dial.value(position) if value is None else value, label=number_label(operator), visible=by_means
    )
    return shown, said, gr.update(value=marks(direction, operator), visible=by_means)


def marks(direction: Direction, operator: str) -> str:
    """What α = 0 and α = 1 are, each below the place where the slider's handle stands for it."""
    parameter = OPERATORS[operator].parameter
    if parameter is None or not parameter.by_means:
        return ""
    dial = Dial.of(direction, operator)
    if parameter.origin:
        names = (
            f"harmless<br>mean {number(direction.mean_harmless)}",
            f"harmful<br>mean {number(direction.mean_harmful)}",
        )
    else:
        names = ("no change<br>0", f"gap of means<br>{number(dial.unit)}")
    said = "".join(
        f'<span class="rhat-mark rhat-{side}" style="left:{100 * (at - dial.low) / (dial.high - dial.low):.2f}%">'
        f"<i></i><b>{name}</b></span>"
        for at, side, name in zip((0, 1), ("harmless", "harmful"), names, strict=True)
    )
    return f'<div class="rhat-marks" aria-hidden="true">{said}</div>'
