"""What the page's controls offer, and the scale of a prompt's projection."""

from __future__ import annotations

from typing import Any

from rhat.directions import Direction
from rhat.server.playground import dial, drawing
from rhat.server.service import Service
from rhat.vocabulary import DEFAULT_MODEL, EXAMPLES, OPERATORS, SCOPES, Example

SHOWN_SCOPES = [f"{kind.name}:5" if kind.counted else kind.name for kind in SCOPES.values()]
CERTIFIED = "certified"  # brings the operator, its number, the side and the threshold
FIRST = next(iter(OPERATORS.values()))  # what the page begins with
WHEN = {
    "Always": "",
    "Only prompts above the threshold": "above",
    "Only prompts at or below it": "below",
    "As certified, with its own number": CERTIFIED,
}


def layer_label(direction: Direction) -> str:
    """What the layer's slider is called."""
    return f"Layer (r̂ was found at {direction.layer})"


def scale(service: Service, name: str, prompt: float | None) -> str:
    """The scale of a direction's projections, with the threshold if it is calibrated, and a prompt's projection."""
    calibration = service.directions.calibrations.get(name)
    return drawing.scale(
        service.directions.started[name], prompt, None if calibration is None else calibration.threshold
    )


def example_name(example: Example) -> str:
    """What the button of an example says."""
    tokens = "all tokens" if example.scope == "all" else f"{example.scope} tokens"
    return f"{example.prompt} ({OPERATORS[example.op].label}, {tokens})"


def example_value(example: Example, service: Service, direction: Direction) -> float:
    """The number of an example on the model that is served: residual-stream units are each model's own, elsewhere the default."""
    if example.value is not None and service.model.name == DEFAULT_MODEL:
        return example.value
    d = dial.Dial.of(direction, example.op)
    return d.value(d.start)


def example_settings(index: int, service: Service, direction: Direction) -> dict[str, Any]:
    """Prompt, operator, scope and number of an example."""
    one = EXAMPLES[index]
    return {
        "prompt": one.prompt,
        "op": one.op,
        "scope": one.scope,
        "target": example_value(one, service, direction),
    }
