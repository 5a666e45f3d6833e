"""A link that holds the page's settings, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from rhat.server.playground.controls import FIRST, SHOWN_SCOPES, WHEN, layer_label
from rhat.server.service import Service
from rhat.vocabulary import OPERATORS

LONGEST = 4000  # characters of a text that a link may bring


@dataclass(frozen=True)
class Slider:
    """What the slider of the operator's number is set to: a direction's name, an operator, and its number (None: the default)."""

    direction: str
    operator: str
    number: float | None


def settings_from(service: Service, query: Mapping[str, Any]) -> tuple[dict[str, Any], Slider | None]:
    """Updates of the inputs, by name, from a link's parameters or an example; what is missing or impossible stays as it is.

    And what the operator's slider is set to. Without parameters nothing is touched: somebody may have begun to type by the
    time this arrives.
    """
    known = service.directions.started
    name = query["direction"] if query.get("direction") in known else next(iter(known))
    r = known[name]
    operator = query["op"] if query.get("op") in OPERATORS else FIRST.name
    other = query.get("direction") in known and len(known) > 1

    def within(key: str, low: float, high: float, kind: type = float) -> Any:
        try:
            value = float(query[key])
        except (KeyError, ValueError):
            return gr.skip()
        return kind(min(high, max(low, value))) if value == value else gr.skip()

    def one_of(key: str, options: Any) -> Any:
        return query[key] if query.get(key) in options else gr.skip()

    def text(key: str) -> Any:
        return str(query[key])[:LONGEST] if key in query else gr.skip()

    layer: Any = within("layer", 0, service.model.n_layers - 1, int)
    if other:
        layer = gr.update(value=layer if isinstance(layer, int) else r.layer, label=layer_label(r))
    target = within("target", -1e6, 1e6)
    found = {
        "system": text("system"),
        "prompt": text("prompt"),
        "direction": name if other else gr.skip(),
        "op": one_of("op", OPERATORS),
        "layer": layer,
        "where": one_of("where", ("", "own layer", "all layers")),
        "scope": one_of("scope", SHOWN_SCOPES),
        "when": one_of("when", WHEN.values()),
        "max_tokens": within("max_tokens", 1, min(512, service.settings.max_tokens), int),
        "temperature": within("temperature", 0, 2),
        "seed": within("seed", 0, 2**53, int),
    }
    number = target if isinstance(target, float) else None
    if number is None and not other and query.get("op") not in OPERATORS:
        return found, None
    return found, Slider(name, operator, number)
