"""Figures: Which finder finds it?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import canvas, wording
from rhat.display.canvas import GREEN, GREY, HARMFUL, HARMLESS, Measure
from rhat.questions.finders.rows import Rows
from rhat.questions.question import Figure

ACCURACY = Measure("test_accuracy", "ci_low", "ci_high", "Test accuracy", ".0%")
PROBES = {
    "logistic": (HARMFUL, "solid"),
    "mean_difference": (HARMFUL, "dash"),
    "ccs": (GREEN, "solid"),
    "pca": (HARMLESS, "solid"),
    "ccs_on_noise": (GREY, "dot"),
}


def finders(results: Results) -> Figure | None:
    """Cosine with r̂ and test accuracy of every finder."""
    import plotly.graph_objects as go

    rows = [row for row in results.part(Rows).finders if row.name != "ccs"]
    if not rows:
        return None
    names = [wording.finder(row.name) for row in rows]
    tones = [GREY if row.name == "random" else HARMLESS for row in rows]
    figure = canvas.bare(height=140 + 56 * len(rows), rows=2, vertical_spacing=0.24)
    figure.add_trace(canvas.dots(names, rows, ACCURACY, tones), row=1, col=1)
    bars = go.Bar(
        x=[row.cosine_to_rhat for row in rows],
        y=names,
        orientation="h",
        marker={"color": tones},
        showlegend=False,
    )
    figure.add_trace(bars, row=2, col=1)
    for row in (1, 2):
        canvas.down(figure, len(rows), row=row)
    figure.update_xaxes(title_text="Test accuracy", tickformat=".0%", row=1)
    figure.update_xaxes(title_text="Cosine with r̂", range=[min(-0.1, *(r.cosine_to_rhat for r in rows)), 1.02], row=2)
    return figure


def finders_effect(results: Results) -> Figure | None:
    """What setting each finder's direction does."""
    rows = [row for row in results.part(Rows).finders if row.set_effect is not None]
    measure = canvas.measure_of([row.set_effect for row in rows])
    effects = canvas.having([row.set_effect for row in rows], measure)
    rows = [row for row in rows if row.set_effect in effects]
    if not rows:
        return None
    names = [wording.finder(row.name) for row in rows]
    tones = [GREY if row.name == "random" else GREEN for row in rows]
    return canvas.forest(names, [row.set_effect for row in rows], measure, tones)


def probes(results: Results) -> Figure | None:
    """Test accuracy of the probes of each set of pairs, by layer."""
    rows = [row for row in results.part(Rows).ccs if row.layer is not None]
    names = canvas.unique(row.set for row in rows)
    if not names:
        return None
    figure = canvas.bare("Layer", "Test accuracy", height=130 + 240 * len(names), rows=len(names), subplot_titles=names)
    for place, name in enumerate(names, 1):
        for method, (tone, dash) in PROBES.items():
            mine = sorted(
                (row for row in rows if (row.set, row.method) == (name, method)), key=lambda row: row.layer or 0
            )
            layers, values = [row.layer for row in mine], [row.accuracy for row in mine]
            trace = canvas.line(layers, values, wording.finder(method), tone, dash=dash, legendgroup=method)
            figure.add_trace(trace.update(showlegend=place == 1), row=place, col=1)
    figure.update_yaxes(tickformat=".0%", title_text="Test accuracy")
    return figure
