"""Figures: Is over-refusal the same direction?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import canvas, wording
from rhat.display.canvas import BORDERLINE, LABELS, SPREAD, TWIN
from rhat.questions.over_refusal.beside import side_by_side
from rhat.questions.over_refusal.rows import Rows
from rhat.questions.projections.rows import Rows as ProjectionRows
from rhat.questions.question import Figure


def rates_borderline(results: Results) -> Figure | None:
    """Refusal rates on borderline prompts, each beside that of their unsafe twins."""
    beside = side_by_side(results)
    if not any(row.twin for row in beside):
        return canvas.rates(results, "borderline")
    shown = [
        (f"{wording.condition(row.condition)}, {name}", rate, LABELS[rate.prompts])
        for row in beside
        for name, rate in (("borderline", row.borderline), ("twins", row.twin))
        if rate is not None
    ]
    names, drawn, tones = zip(*shown, strict=True)
    return canvas.forest(names, drawn, canvas.RATE, tones)


def borderline_projections(results: Results) -> Figure | None:
    """Projection of borderline prompts beside the other two kinds."""
    rows = results.part(Rows).borderline_projections
    if not rows:
        return None
    layer = results.direction.layer if results.direction else None
    shown = [
        ("Their twins", canvas.around_mean(row), TWIN)
        if row.group == "twins"
        else (f"Borderline, {row.group}", canvas.around_mean(row), BORDERLINE)
        for row in rows
    ]
    for row in results.part(ProjectionRows).projections:
        if row.layer == layer and row.split == "test" and row.label != "borderline":
            shown.append((row.label.capitalize(), canvas.around_mean(row), LABELS[row.label]))
    names, drawn, tones = zip(*shown, strict=True)
    figure = canvas.forest(names, drawn, SPREAD, tones)
    figure.update_xaxes(title_text="Projection on r̂ (units), ± 1 sd")
    return figure
