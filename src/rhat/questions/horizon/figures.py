"""Figures: How long must answers be read?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import canvas, wording
from rhat.display.canvas import AMBER, GREEN, GREY, HARMLESS
from rhat.questions.horizon.rows import Rows
from rhat.questions.question import Figure

TONES = (GREY, GREEN, HARMLESS, AMBER)


def horizon(results: Results) -> Figure | None:
    """Refusal against the number of tokens that are read, a curve for each condition and kind of prompts."""
    rows = results.part(Rows).horizon
    if not rows:
        return None
    measure = canvas.RATE
    figure = canvas.bare("Tokens of each answer that are read", measure.title, height=420)
    curves = list(dict.fromkeys((row.condition, row.prompts) for row in rows))
    for tone, names in zip(TONES * len(curves), curves, strict=False):
        mine = sorted((row for row in rows if (row.condition, row.prompts) == names), key=lambda row: row.tokens)
        name = f"{wording.condition(names[0])}, {names[1]}"
        figure.add_trace(canvas.curve([row.tokens for row in mine], mine, measure, name, tone))
    canvas.scale(figure.update_yaxes, measure, rows)
    lengths = sorted({row.tokens for row in rows})
    figure.update_xaxes(type="log", tickmode="array", tickvals=lengths, ticktext=list(map(str, lengths)))
    return figure
