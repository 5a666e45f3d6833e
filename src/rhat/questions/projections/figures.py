"""Figures: What do projections look like?"""

from __future__ import annotations

from itertools import pairwise

from rhat.artifacts.run import Results
from rhat.display import canvas
from rhat.display.canvas import GREEN, GREY, LABELS, SPREAD, Measure
from rhat.questions.projections.rows import Rows
from rhat.questions.question import Figure

AUROC = Measure("auroc", "ci_low", "ci_high", "AUROC", "")


def projections(results: Results) -> Figure | None:
    """Mean test projection by layer, with one standard deviation."""
    rows = [row for row in results.part(Rows).projections if row.split == "test"]
    if not rows:
        return None
    figure = canvas.bare("Layer", "Projection on r̂ (units), ± 1 sd")
    for label, tone in LABELS.items():
        mine = [canvas.around_mean(row) for row in rows if row.label == label]
        if mine:
            layers = [row.layer for row in mine]
            figure.add_trace(canvas.curve(layers, mine, SPREAD, label.capitalize(), tone))
    return figure


def auroc(results: Results) -> Figure | None:
    """AUROC of the test projection by layer."""
    rows = results.part(Rows).auroc
    if not rows:
        return None
    layers = [row.layer for row in rows]
    figure = canvas.bare("Layer", "AUROC", height=320)
    figure.add_trace(canvas.curve(layers, rows, AUROC, "Test prompts, 95% interval", GREEN))
    figure.add_trace(canvas.line([min(layers), max(layers)], [0.5, 0.5], "Chance", GREY))
    return figure


def transfer(results: Results) -> Figure | None:
    """AUROC of r̂ found without the category of a row, on the category of a column."""
    rows = results.part(Rows).transfer
    names = canvas.unique(row.left_out for row in rows)
    if not names:
        return None
    cells = {(row.left_out, row.tested): row.auroc for row in rows}
    shown = [name.replace("_", " ") for name in names]
    z = [[cells.get((row, column)) for column in names] for row in names]
    figure = canvas.bare("Tested on", "Found without", height=200 + 26 * len(names))
    figure.add_trace(canvas.heat(shown, shown, z, "AUROC"))
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(type="category", tickangle=None)
    return figure


def histogram(results: Results) -> Figure | None:
    """Histogram of the test projection at r̂'s layer."""
    import plotly.graph_objects as go

    rows = results.part(Rows).histogram
    rows = tuple(results.at_layer("histogram", rows)) or rows
    if not rows:
        return None
    figure = canvas.bare(f"Projection on r̂, layer {rows[0].layer} (units)", "Prompts", height=320)
    for row in rows:
        edges = row.edges
        pairs = list(pairwise(edges))
        figure.add_trace(
            go.Bar(
                x=[(low + high) / 2 for low, high in pairs],
                y=row.counts,
                width=[high - low for low, high in pairs],
                name=row.label.capitalize(),
                marker={"color": LABELS[row.label], "opacity": 0.6},
            )
        )
    figure.update_layout(barmode="overlay", bargap=0)
    return figure


def trajectories(results: Results) -> Figure | None:
    """Projection over the tokens of single prompts, aligned at the last prompt token.

    The first token of a prompt is left out: nothing stands before it, so it is the same for every prompt, and models keep
    activations there that are many times larger than anywhere else; with it every other difference would be a flat line.
    """
    rows = [row for row in results.part(Rows).trajectories if len(row.values) > 1]
    if not rows:
        return None
    figure = canvas.bare("Token position from the end (first token left out)", "Projection on r̂ (units)")
    seen: set[str] = set()
    for row in rows:
        label, values = row.label, row.values[1:]
        trace = canvas.line(range(-len(values), 0), values, label.capitalize(), LABELS[label], dash="solid")
        trace.update(legendgroup=label, showlegend=label not in seen, opacity=0.75)
        trace.update(hovertemplate=f"{label}, position %{{x}}: %{{y:.2f}}<extra></extra>")
        figure.add_trace(trace)
        seen.add(label)
    return figure
