"""Figures: How big is the boost, beside Zou et al.?"""

from __future__ import annotations

from textwrap import wrap
from types import SimpleNamespace
from typing import Any

from rhat.artifacts.run import Results
from rhat.display import canvas, wording
from rhat.display.canvas import GREY, Measure
from rhat.questions.question import Figure
from rhat.questions.repe.rows import Rows

POINTS = Measure("points", "ci_low", "ci_high", "Boost over baseline (points)", "")

WIDTH = 20  # characters of a label beside the bars: a phone is narrow


def boost(results: Results) -> Figure | None:
    """Boost in points, beside the published one."""
    repe = results.part(Rows).repe
    if not repe:
        return None
    rows: list[Any] = list(repe.boosts)
    names = ["<br>".join(wrap(wording.condition(row.condition), WIDTH)) for row in rows]
    tones = [canvas.colour(row.condition) for row in rows]
    if published := repe.published:
        value = published.value
        rows.append(SimpleNamespace(points=value, ci_low=value, ci_high=value, n="theirs"))
        names.append(f"{published.model or 'Published'},<br>as published")
        tones.append(GREY)
    figure = canvas.forest(names, rows, POINTS, tones)
    figure.update_xaxes(rangemode="tozero")
    return figure


def repe_table(results: Results) -> Figure | None:
    """Validation score of every setting of RepE control."""
    repe = results.part(Rows).repe
    rows = repe.table if repe else ()
    if not rows or len(rows) < 2:
        return None
    dosed = all(row.dose is not None for row in rows)
    cells = {
        (f"{row.layers[0]}–{row.layers[1]}", row.dose if dosed and row.dose else row.coefficient): row.validation_score
        for row in rows
    }
    spans = canvas.unique(span for span, _ in cells)
    coefficients = sorted({coefficient for _, coefficient in cells})
    z = [[cells.get((span, coefficient)) for coefficient in coefficients] for span in spans]
    figure = canvas.bare("Dose (raw differences)" if dosed else "Coefficient", "Layers", height=110 + 44 * len(spans))
    figure.add_trace(canvas.heat([f"{c:.3g}" for c in coefficients], spans, z, "nats"))
    figure.update_xaxes(type="category")
    figure.update_yaxes(type="category")
    return figure


def factorial(results: Results) -> Figure | None:
    """Refusal score for each combination of direction, operator, layers, scope and dose."""
    rows = results.part(Rows).factorial
    if not rows:
        return None
    measure = canvas.SCORE if all(row.score_mean is not None for row in rows) else canvas.measure_of(rows)
    doses = {row.dose for row in rows}
    cells = {}
    for row in canvas.having(rows, measure):
        dose = f", {row.dose:g}×" if len(doses) > 1 else ""
        side = f"{wording.direction(row.direction)}, {wording.operator(row.op)}{dose}"
        cells[side, f"layers {row.layers},<br>{wording.scope(row.scope)}"] = getattr(row, measure.value)
    sides, tops = canvas.unique(side for side, _ in cells), canvas.unique(top for _, top in cells)
    z = [[cells.get((side, top)) for top in tops] for side in sides]
    figure = canvas.bare(height=150 + 34 * len(sides))
    figure.add_trace(canvas.heat(tops, sides, z, "nats" if measure is canvas.SCORE else "rate"))
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(type="category", title_text=measure.title, tickangle=None)
    return figure
