"""Figures: Ablating or subtracting?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import canvas
from rhat.display.canvas import AMBER, GREEN, GREY
from rhat.questions.question import Figure
from rhat.questions.suppress.rows import Rows


def rates_harmful(results: Results) -> Figure | None:
    """Refusal rates on harmful prompts."""
    return canvas.rates(results, "harmful")


def damage(results: Results) -> Figure | None:
    """Refusal of harmful prompts against the damage done to harmless ones."""
    rows = results.part(Rows).damage
    if not rows:
        return None
    measure = canvas.measure_of(rows)
    rows = canvas.having(rows, measure)
    figure = canvas.bare("Mean KL on harmless prompts (nats)", f"{measure.title}, harmful prompts", height=420)
    for op, tone in (("ablate", GREEN), ("subtract", AMBER), ("none", GREY)):
        for sites, symbol, dash in (("own layer", "circle", "solid"), ("all layers", "diamond", "dash")):
            mine = [row for row in rows if (row.op, row.sites) == (op, sites)]
            mine.sort(key=lambda row: row.kl_mean)
            if mine:
                trace = canvas.curve(
                    [row.kl_mean for row in mine],
                    mine,
                    measure,
                    f"{op.capitalize()}, {sites}",
                    tone,
                    symbol=symbol,
                    dash=dash,
                )
                notes = [f"c = {row.coefficient:.2f}" if row.coefficient is not None else op for row in mine]
                hover = "%{customdata}: KL %{x:.3f}, %{y:.2f}<extra></extra>"
                figure.add_trace(trace.update(customdata=notes, hovertemplate=hover))
    canvas.scale(figure.update_yaxes, measure, rows)
    if all(row.kl_mean > 0 for row in rows):
        figure.update_xaxes(type="log", dtick=1)
    return figure
