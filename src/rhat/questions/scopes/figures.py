"""Figures: How much of the sequence is needed?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import canvas, wording
from rhat.display.canvas import GREEN, HARMLESS
from rhat.questions.question import Figure
from rhat.questions.scopes.rows import Rows


def scopes(results: Results) -> Figure | None:
    """Refusal against the share of tokens that are edited."""
    rows = results.part(Rows).scopes
    if not rows:
        return None
    measure = canvas.measure_of(rows)
    rows = tuple(sorted(canvas.having(rows, measure), key=lambda row: -row.token_share))
    names = [f"{wording.scope(row.scope).capitalize()} ({wording.percent(row.token_share)})" for row in rows]
    return canvas.forest(names, rows, measure, [GREEN if row.scope == "all" else HARMLESS for row in rows])


def scope_share(results: Results) -> Figure | None:
    """The same as a curve over the share of tokens."""
    rows = results.part(Rows).scopes
    if not rows or len(rows) < 3:
        return None
    measure = canvas.measure_of(rows)
    rows = tuple(sorted(canvas.having(rows, measure), key=lambda row: row.token_share))
    shares = [row.token_share for row in rows]
    figure = canvas.bare("Share of all tokens that are edited", measure.title, height=340)
    trace = canvas.curve(shares, rows, measure, "Set projection, 95% interval", GREEN, mode="markers")
    names = [wording.scope(row.scope) for row in rows]
    hover = "%{customdata}: %{x:.0%} of tokens, %{y}<extra></extra>"
    figure.add_trace(trace.update(customdata=names, hovertemplate=hover))
    canvas.scale(figure.update_yaxes, measure, rows)
    figure.update_xaxes(tickformat=".0%", range=[-0.03, 1.05])
    return figure
