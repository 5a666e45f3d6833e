"""What the page's controls offer: operators, scopes, and the slider of an operator's number."""

from __future__ import annotations

from typing import Any

import gradio as gr

from rhat.directions import Direction
from rhat.server.playground import drawing
from rhat.server.service import Service
from rhat.vocabulary import OPERATORS, SCOPES

SHOWN_SCOPES = [f"{kind.name}:5" if kind.counted else kind.name for kind in SCOPES.values()]
FIRST = next(iter(OPERATORS.values()))  # what the page begins with
WHEN = {"Always": "", "Only prompts above the threshold": "above", "Only prompts at or below it": "below"}


def slider_label(operator: str) -> str:
    """What the slider is called under an operator."""
    parameter = OPERATORS[operator].parameter
    return "" if parameter is None else parameter.label


def span_of(operator: str) -> tuple[float, float] | None:
    """The values that the slider offers for an operator; None: the range of the direction's projections."""
    parameter = OPERATORS[operator].parameter
    return None if parameter is None else parameter.span


def slider(direction: Direction, operator: str) -> dict[str, Any]:
    """The slider of an operator's parameter, at its default."""
    parameter = OPERATORS[operator].parameter
    default = None if parameter is None else parameter.default
    reach = drawing.Range.around(direction)
    low, high = span_of(operator) or (reach.low, reach.high)
    return gr.update(
        minimum=low,
        maximum=high,
        value=round(direction.mean_harmful if default is None else default, 2),
        label=slider_label(operator),
    )


def layer_label(direction: Direction) -> str:
    """What the layer's slider is called."""
    return f"Layer (r̂ was found at {direction.layer})"


def scale(service: Service, name: str, prompt: float | None) -> str:
    """The scale of a direction's projections, with the threshold if it is calibrated, and a prompt's projection."""
    calibration = service.directions.calibrations.get(name)
    return drawing.scale(service.directions.known[name], prompt, None if calibration is None else calibration.threshold)
