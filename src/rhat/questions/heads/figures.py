"""Figures: How few heads?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import canvas
from rhat.display.canvas import GREEN, GREY, HARMLESS
from rhat.questions.heads.rows import Rows
from rhat.questions.question import Figure


def heads_ranking(results: Results) -> Figure | None:
    """The heads that write r̂."""
    import plotly.graph_objects as go

    found = results.part(Rows).heads
    rows = found.ranking[:16] if found else ()
    if not rows:
        return None
    names = [f"L{row.layer} H{row.head}" for row in rows]
    figure = canvas.bare("Contribution to the gap (units)", height=100 + 24 * len(rows))
    bars = go.Bar(
        x=[row.attribution for row in rows],
        y=names,
        orientation="h",
        marker={"color": HARMLESS},
        showlegend=False,
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    figure.add_trace(bars)
    canvas.down(figure, len(rows))
    return figure


def heads_curve(results: Results) -> Figure | None:
    """Refusal against the number of heads patched."""
    found = results.part(Rows).heads
    rows = found.curve if found else ()
    if not rows:
        return None
    measure = canvas.measure_of(rows)
    rows = canvas.having(rows, measure)
    figure = canvas.bare("Heads patched (k)", f"{measure.title}, harmless prompts", height=400)
    styles = {
        "attributed": ("Largest attribution", HARMLESS, "circle", "lines+markers"),
        "greedy": ("Greedy", GREEN, "diamond", "lines+markers"),
        "random": ("Random, same layers", GREY, "square", "markers"),
    }
    for kind, (name, tone, symbol, mode) in styles.items():
        mine = sorted((row for row in rows if row.kind == kind), key=lambda row: row.k)
        if mine:
            counts = [row.k for row in mine]
            figure.add_trace(canvas.curve(counts, mine, measure, name, tone, mode=mode, symbol=symbol))
    canvas.scale(figure.update_yaxes, measure, rows)
    return figure
