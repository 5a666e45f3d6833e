"""Figures: Is adding as good as setting?"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from rhat.artifacts.run import Results
from rhat.display import canvas, wording
from rhat.display.canvas import AMBER, BORDERLINE, GREEN, GREY, LABELS, Measure
from rhat.display.wording import Number
from rhat.questions.induce.rows import Rows
from rhat.questions.question import Figure

GAP = Measure("gap", "ci_low", "ci_high", "Set − add", "")


def rates_harmless(results: Results) -> Figure | None:
    """Refusal rates on harmless prompts."""
    return canvas.rates(results, "harmless")


def matched_controls(results: Results) -> Figure | None:
    """One dot a control direction, one for r̂, for each operator and way of matching."""
    rows = results.part(Rows).matched_controls
    panels = canvas.unique(f"{wording.operator(row.op)}, equal {row.match}" for row in rows)
    if not panels:
        return None
    kinds = canvas.unique(row.kind for row in rows)
    figure = canvas.bare(
        "Effect on the refusal score (nats)", height=100 + 190 * len(panels), rows=len(panels), subplot_titles=panels
    )
    for place, panel in enumerate(panels, 1):
        mine = [row for row in rows if f"{wording.operator(row.op)}, equal {row.match}" == panel]
        trace = canvas.line([row.effect for row in mine], [wording.control(row.kind) for row in mine], panel, GREY)
        tones = [GREEN if row.kind == "rhat" else GREY for row in mine]
        figure.add_trace(
            trace.update(mode="markers", marker={"color": tones, "size": 7}, showlegend=False), row=place, col=1
        )
        canvas.down(figure, len(kinds), row=place)
    return figure


def set_add_layers(results: Results) -> Figure | None:
    """Mean projection of both kinds of prompts above the gap between setting and adding, by layer."""
    rows = results.part(Rows).layers
    if not rows:
        return None
    layers = [row.layer for row in rows]
    unit = "share" if rows[0].unit == "share" else "nats"
    figure = canvas.bare("Layer", height=520, rows=2, shared_xaxes=True, vertical_spacing=0.08)
    for label in ("harmful", "harmless"):
        means = [getattr(row, f"{label}_mean_projection") for row in rows]
        trace = canvas.line(layers, means, f"{label.capitalize()} mean", LABELS[label], dash="solid")
        figure.add_trace(trace.update(mode="lines+markers"), row=1, col=1)
    figure.add_trace(canvas.curve(layers, rows, GAP, "Set − add, 95% interval", GREEN), row=2, col=1)
    for row in (1, 2):
        figure.add_trace(_zero(layers), row=row, col=1)
    figure.update_yaxes(title_text="Projection (units)", row=1)
    figure.update_yaxes(title_text=f"Set − add ({unit})", row=2)
    return figure


def set_add_zero(results: Results) -> Figure | None:
    """The gap between setting and adding against the harmless mean, one dot a layer."""
    rows = results.part(Rows).layers
    if not rows:
        return None
    unit = "share" if rows[0].unit == "share" else "nats"
    means = [row.harmless_mean_projection for row in rows]
    figure = canvas.bare("Mean harmless projection (units)", f"Set − add ({unit})")
    trace = canvas.curve(means, rows, GAP, "One layer, 95% interval", GREEN, mode="markers")
    trace.update(
        customdata=[row.layer for row in rows],
        hovertemplate="layer %{customdata}: projection %{x:.2f}, set − add %{y:.2f}<extra></extra>",
    )
    figure.add_trace(trace)
    figure.add_trace(_zero(means))
    return figure


def prediction(results: Results) -> Figure | None:
    """Setting's effect as predicted from adding's dose curve, beside what was observed."""
    found = results.part(Rows).prediction
    if not found:
        return None
    measure = canvas.SCORE
    names = ["Set, predicted", "Set, observed", "Add, observed"]
    rows = []
    for field in ("predicted_score", "observed_score", "observed_add_score"):
        value = getattr(found, field)
        low, high = (found.score_ci_low, found.score_ci_high) if field == "observed_score" else (value, value)
        rows.append(SimpleNamespace(score_mean=value, score_ci_low=low, score_ci_high=high, n=found.n))
    return canvas.forest(names, rows, measure, [BORDERLINE, GREEN, AMBER])


def _zero(x: Iterable[Number]) -> Any:
    values = [*x]
    return canvas.line([min(0, *values), max(0, *values)], [0, 0], "Zero", GREY, showlegend=False, hoverinfo="skip")
