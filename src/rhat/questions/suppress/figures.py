"""Figures: Ablating or subtracting?"""

from __future__ import annotations

import math

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
    least = min((row.kl_mean for row in rows if row.kl_mean > 0), default=None)
    nothing = (
        1.0 if least is None else 10.0 ** (math.floor(math.log10(least)) - 1)
    )  # where "no damage" stands on a log axis
    for op, tone in (("ablate", GREEN), ("subtract", AMBER), ("none", GREY)):
        for sites, symbol, dash in (("own layer", "circle", "solid"), ("all layers", "diamond", "dash")):
            mine = [row for row in rows if (row.op, row.sites) == (op, sites)]
            mine.sort(key=lambda row: row.kl_mean)
            if mine:
                trace = canvas.curve(
                    [row.kl_mean if least is None else max(row.kl_mean, nothing) for row in mine],
                    mine,
                    measure,
                    f"{op.capitalize()}, {sites}",
                    tone,
                    symbol=symbol,
                    dash=dash,
                )
                notes = [
                    f"{op if row.coefficient is None else f'c = {row.coefficient:.2f}'}: KL {row.kl_mean:.3f}"
                    for row in mine
                ]
                hover = "%{customdata}, %{y:.2f}<extra></extra>"
                figure.add_trace(trace.update(customdata=notes, hovertemplate=hover))
    canvas.scale(figure.update_yaxes, measure, rows)
    if least is not None:
        decades = range(math.floor(math.log10(least)), math.ceil(math.log10(max(row.kl_mean for row in rows))) + 1)
        ticks = {10.0**decade: f"{10.0**decade:g}" for decade in decades}
        if any(row.kl_mean <= 0 for row in rows):
            ticks = {nothing: "none", **ticks}
        figure.update_xaxes(type="log", tickvals=list(ticks), ticktext=list(ticks.values()))
    return figure
