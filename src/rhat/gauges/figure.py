"""Every test prompt in the plane of both gauges, as an SVG document."""

from __future__ import annotations

from rhat.display import canvas
from rhat.display.static import to_svg
from rhat.display.wording import PROMPTS
from rhat.gauges.rows import Gauges


def plane(g: Gauges) -> str:
    """Harmfulness along x and refusal along y, in α; filled: refused, open: not refused."""
    import plotly.graph_objects as go

    figure = canvas.bare(
        "Harmfulness, at the instruction's last token (α)", "Refusal, at the template's last token (α)", height=520
    )
    for label, tone in canvas.LABELS.items():
        for refused in (True, False):
            some = [row for row in g.plane if row.prompts == label and row.refused == refused]
            if some:
                figure.add_trace(
                    go.Scatter(
                        x=[row.harmfulness for row in some],
                        y=[row.refusal for row in some],
                        mode="markers",
                        name=f"{PROMPTS[label]}, {'refused' if refused else 'not refused'}",
                        marker={"color": tone, "size": 7, "symbol": "circle" if refused else "circle-open"},
                    )
                )
    return to_svg(figure, "Test prompts in the plane of harmfulness and refusal")
