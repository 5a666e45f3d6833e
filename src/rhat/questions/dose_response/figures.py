"""Figures: Dose and response"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import canvas, wording
from rhat.display.canvas import AMBER, GREEN, LABELS
from rhat.questions.dose_response.rows import Rows
from rhat.questions.question import Figure


def dose(results: Results) -> Figure | None:
    """Refusal, and KL below it, against the projection aimed at."""
    rows = results.part(Rows).dose
    if not rows:
        return None
    measure = canvas.measure_of(rows)
    rows = tuple(sorted(canvas.having(rows, measure), key=lambda row: row.target))
    with_kl = any(row.kl_mean is not None for row in rows)
    lines = 2 if with_kl else 1
    title = "Projection aimed at (units)"
    figure = canvas.bare(title, height=520 if with_kl else 380, rows=lines, shared_xaxes=True, vertical_spacing=0.08)
    for op, tone, symbol in (("set_projection", GREEN, "circle"), ("add", AMBER, "diamond")):
        mine = [row for row in rows if (row.op or "set_projection") == op]
        if not mine:
            continue
        name = wording.operator(op).capitalize()
        targets = [row.target for row in mine]
        figure.add_trace(canvas.curve(targets, mine, measure, name, tone, symbol=symbol), row=1, col=1)
        damaged = [row for row in mine if row.kl_mean is not None]
        if damaged:
            targets, kl = [row.target for row in damaged], [row.kl_mean for row in damaged]
            trace = canvas.line(targets, kl, f"{name}, KL", tone, dash="solid", showlegend=False)
            figure.add_trace(trace, row=2, col=1)
    ends = [getattr(row, end) for row in rows for end in (measure.low, measure.high)]
    for label, name, dash in (("harmless", "harmless_mean", "dot"), ("harmful", "harmful_mean", "dot"),
                              ("harmful", "harmful_mean_all", "dash")):  # fmt: skip
        at = getattr(results.direction, name, None)
        if at is not None:
            said = f"{label.capitalize()} mean" + (", refused or not" if name.endswith("_all") else "")
            trace = canvas.line([at, at], [min(ends), max(ends)], said, LABELS[label], dash=dash)
            figure.add_trace(trace, row=1, col=1)
    figure.update_yaxes(title_text=measure.title, row=1)
    canvas.scale(figure.update_yaxes, measure, rows, row=1)
    if with_kl:
        figure.update_yaxes(title_text="KL (nats)", row=2)
    return figure
