"""A link that holds the page's settings, and what they come to."""

from __future__ import annotations

from typing import Any

import gradio as gr

from rhat.server.playground import drawing
from rhat.server.playground.controls import FIRST, SHOWN_SCOPES, WHEN, layer_label, scale, span_of
from rhat.server.service import Service
from rhat.vocabulary import OPERATORS


def settings_from(service: Service, query: dict[str, str]) -> list[Any]:
    """Updates of all inputs from a link's parameters; what is missing or impossible stays as it is.

    Without parameters nothing is touched: somebody may have begun to type by the time this arrives.
    """
    known = service.directions.known
    name = query["direction"] if query.get("direction") in known else next(iter(known))
    r = known[name]
    span = drawing.Range.around(r)
    low, high = span_of(query.get("op", "") if query.get("op") in OPERATORS else FIRST.name) or (span.low, span.high)

    def within(key: str, low: float, high: float, kind: type = float) -> Any:
        try:
            value = float(query[key])
        except (KeyError, ValueError):
            return gr.skip()
        return kind(min(high, max(low, value))) if value == value else gr.skip()

    def one_of(key: str, options: Any) -> Any:
        return query[key] if query.get(key) in options else gr.skip()

    target: Any = within("target", low, high)
    layer: Any = within("layer", 0, service.model.n_layers - 1, int)
    other = query.get("direction") in known and len(known) > 1
    if other:
        target = gr.update(
            minimum=low, maximum=high, value=target if isinstance(target, float) else round(r.mean_harmful, 2)
        )
        layer = gr.update(value=layer if isinstance(layer, int) else r.layer, label=layer_label(r))
    return [
        query["prompt"][:4000] if "prompt" in query else gr.skip(),
        name if other else gr.skip(),
        one_of("op", OPERATORS),
        target,
        layer,
        one_of("where", ("", "own layer", "all layers")),
        one_of("scope", SHOWN_SCOPES),
        one_of("when", WHEN.values()),
        within("max_tokens", 1, min(512, service.settings.max_tokens), int),
        within("temperature", 0, 2),
        within("seed", 0, 2**53, int),
        drawing.marks(r) if other else gr.skip(),
        scale(service, name, None) if other else gr.skip(),
    ]
