"""Figures: What does PCA show?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rhat.artifacts.run import Results
from rhat.display import canvas
from rhat.display.canvas import GREEN, GREY, LABELS
from rhat.questions.pca.rows import Point, Rows
from rhat.questions.question import Figure

MULTIPLES = 9  # at most so many small multiples


def pca(results: Results) -> Figure | None:
    """Both kinds of prompts in the first two components at r̂'s layer."""
    rows = [row for row in results.part(Rows).pca if row.points]
    if not rows:
        return None
    at = results.at_layer("pca", rows)
    row = at[0] if at else rows[-1]
    shares = [f" ({share:.0%} of variance)" for share in row.explained[:2]]
    shares += [""] * (2 - len(shares))
    figure = canvas.bare(f"PC 1{shares[0]}, layer {row.layer}", f"PC 2{shares[1]}", height=440)
    for trace in _cloud(row.points, size=7):
        figure.add_trace(trace)
    return figure


def pca_layers(results: Results) -> Figure | None:
    """The same at several layers, as small multiples."""
    rows = [row for row in results.part(Rows).pca if row.points]
    if len(rows) < 2:
        return None
    if len(rows) > MULTIPLES:
        step = (len(rows) - 1) / (MULTIPLES - 1)
        rows = [rows[round(index * step)] for index in range(MULTIPLES)]
    columns = 3
    lines = -(-len(rows) // columns)
    figure = canvas.bare(
        height=70 + 165 * lines,
        rows=lines,
        columns=columns,
        subplot_titles=[f"Layer {row.layer}" for row in rows],
        horizontal_spacing=0.05,
        vertical_spacing=0.22 / lines,
    )
    for index, row in enumerate(rows):
        for trace in _cloud(row.points, size=4):
            trace.update(showlegend=index == 0)
            figure.add_trace(trace, row=index // columns + 1, col=index % columns + 1)
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(
            showticklabels=False,
            showgrid=False,
            showline=True,
            mirror=True,
            linecolor="rgba(122,130,142,0.5)",
        )
    figure.update_annotations(font_size=12)
    figure.update_layout(legend_y=1.02 + 0.1 / lines, legend_itemsizing="constant", margin_t=46)
    return figure


def pca_cosine(results: Results) -> Figure | None:
    """Cosine between the first component and r̂, by layer."""
    rows = results.part(Rows).pca
    if not rows or len(rows) < 2:
        return None
    layers = [row.layer for row in rows]
    figure = canvas.bare("Layer", "Cosine or share", height=320)
    cosines = [row.cosine_pc1_rhat for row in rows]
    for name, values, tone in (
        ("Cosine of PC 1 with r̂", cosines, GREEN),
        ("Variance explained by PC 1", [row.explained[0] for row in rows], GREY),
    ):
        figure.add_trace(canvas.line(layers, values, name, tone, dash="solid").update(mode="lines+markers"))
    figure.update_yaxes(range=[min(0, *cosines) - 0.05, 1.05])
    return figure


def _cloud(points: Sequence[Point], *, size: int) -> list[Any]:
    import plotly.graph_objects as go

    traces = []
    for label, tone in LABELS.items():
        mine = [point for point in points if point.label == label]
        if mine:
            traces.append(
                go.Scatter(
                    x=[point.x for point in mine],
                    y=[point.y for point in mine],
                    mode="markers",
                    name=label.capitalize(),
                    legendgroup=label,
                    marker={"color": tone, "size": size, "opacity": 0.7},
                    customdata=[point.category or "" for point in mine],
                    hovertemplate=f"{label}, %{{customdata}}<extra></extra>",
                )
            )
    return traces
