"""The picture of the opening: how often requests were refused before, with r̂ set or removed, and with random directions."""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import canvas, wording
from rhat.questions.question import Drawing, Figure

PANELS = (
    ("harmless", {"baseline": "Before", "set_projection": "r̂ set", "random_set_projection": "Random<br>direction"}),
    ("harmful", {"baseline": "Before", "ablate": "r̂ removed", "random_ablate": "Random<br>direction"}),
)


def picture(results: Results) -> Figure | None:
    """One panel a kind of requests, one dot a condition with its 95 % interval, on one scale; None where nothing was edited."""
    found = [
        (label, [(name, row) for key, name in names.items() if (row := results.find_rate(key, label))])
        for label, names in PANELS
    ]
    panels = [(label, rows) for label, rows in found if len(rows) > 1]
    if not panels:
        return None
    titles = [f"{label.capitalize()} requests" for label, _ in panels]
    figure = canvas.bare(
        "Refused, 95% interval", height=120 + 150 * len(panels), rows=len(panels), shared_xaxes=True,
        subplot_titles=titles, vertical_spacing=0.18,
    )  # fmt: skip
    for place, (label, rows) in enumerate(panels, 1):
        tones = [canvas.GREY if "Random" in name or name == "Before" else canvas.LABELS[label] for name, _ in rows]
        trace = canvas.dots([name for name, _ in rows], [row for _, row in rows], canvas.RATE, tones)
        shares = [wording.percent(row.rate) for _, row in rows]
        trace.update(mode="markers+text", text=shares, textposition="top center", marker={"size": 12}, cliponaxis=False)
        figure.add_trace(trace, row=place, col=1)
        canvas.down(figure, len(rows), row=place)
        figure.update_yaxes(range=[len(rows) - 0.5, -0.8], row=place)  # a number stands above the first dot
    figure.update_annotations(x=0, yshift=4, xanchor="left", font={"size": 13})
    figure.update_xaxes(range=[-0.03, 1.03], tickformat=".0%", dtick=0.25)
    return figure


OPENING = Drawing(
    "opening",
    "What setting, removing and random directions did",
    "Share of harmless and of harmful requests refused before, with r̂ set or removed, and with random directions.",
    picture,
)
