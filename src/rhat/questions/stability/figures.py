"""Figures: Is it one direction?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import canvas
from rhat.display.canvas import AMBER, BORDERLINE, GREEN, HARMFUL, HARMLESS
from rhat.questions.question import Figure
from rhat.questions.stability.rows import Rows


def stability(results: Results) -> Figure | None:
    """Cosines between refits of r̂."""
    import plotly.graph_objects as go

    rows = results.part(Rows)
    shown: dict[str, tuple[float, ...]] = {}
    if rows.stability is not None:
        shown = {"Split half": rows.stability.split_half, "Other draws": rows.stability.seeds}
    shown["Other topics, chosen again"] = tuple(row.cosine for row in rows.resamples)
    shown["Other splits"] = tuple(row.cosine for row in rows.splits if row.split and row.cosine is not None)
    shown = {name: values for name, values in shown.items() if values}
    if not shown:
        return None
    figure = canvas.bare("Cosine", height=110 + 44 * len(shown))
    for (name, values), tone in zip(shown.items(), (HARMLESS, GREEN, AMBER, BORDERLINE), strict=False):
        style = {"color": tone, "size": 9, "opacity": 0.6}
        figure.add_trace(
            go.Scatter(x=values, y=[name] * len(values), mode="markers", marker=style, name=name, showlegend=False)
        )
    canvas.down(figure, len(shown))
    lowest = min(min(values) for values in shown.values())
    figure.update_xaxes(range=[lowest - 0.1 * (1.02 - lowest), 1.005])
    return figure


def refits(results: Results) -> Figure | None:
    """What each direction found after ablating the ones before induces and prevents."""
    found = results.part(Rows).stability
    rows = found.refits if found else ()
    if not rows:
        return None
    effects = [effect for row in rows for effect in (row.induce, row.prevent) if effect]
    if not effects:
        return None
    measure = canvas.measure_of(effects)
    figure = canvas.bare("Round (0 is r̂)", measure.title, height=340)
    for key, name, tone in (("induce", "Set, harmless", HARMLESS), ("prevent", "Ablated, harmful", HARMFUL)):
        mine = [row for row in rows if canvas.having([getattr(row, key)], measure)]
        if mine:
            rounds, shown = [row.round for row in mine], [getattr(row, key) for row in mine]
            figure.add_trace(canvas.curve(rounds, shown, measure, name, tone))
    canvas.scale(figure.update_yaxes, measure, effects)
    figure.update_xaxes(dtick=1)
    return figure
