"""Cost against number of prompts, candidates and layers: straight lines, drawn into docs/images/scaling.svg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row, seconds, timed
from subject import Subject

FIGURE = Path(__file__).parents[1] / "docs" / "images" / "scaling.svg"


def measure(subject: Subject) -> list[Row]:
    """Seconds at several sizes, a straight line through each, and how well it fits (R²)."""
    runs = 1 if subject.quick else 3
    sizes = {
        "prompts": (prompts_cost(subject), (32, 64, 128) if subject.quick else (32, 64, 128, 192, 256)),
        "candidates": (candidates_cost(subject), (1, 2, 4) if subject.quick else (1, 2, 4, 6, 8)),
        "layers": (layers_cost(subject), (6, 12, 24) if subject.quick else (4, 8, 12, 16, 20, 24)),
    }
    curves = {}
    for name, (cost, steps) in sizes.items():
        taken = [timed(cost(n), runs=runs) for n in steps]
        subject.say(f"{name}: {', '.join(seconds(times.median) for times in taken)}")
        medians = [times.median for times in taken]
        slope, start = np.polyfit(steps, medians, 1)
        fitted = np.polyval((slope, start), steps)
        r2 = 1 - np.sum((medians - fitted) ** 2) / np.sum((medians - np.mean(medians)) ** 2)
        curves[name] = {
            "n": list(steps),
            "seconds": medians,
            "cpu": [times.cpu_median for times in taken],
            "slope": float(slope),
            "start": float(start),
            "r2": float(r2),
        }
    worst = min(curve["r2"] for curve in curves.values())
    if not subject.quick:
        draw(curves)
    return [
        Row(
            "scaling",
            "cost against number of prompts, candidates, layers",
            "; ".join(f"{curve['slope'] * 1000:.1f} ms a {name[:-1]}" for name, curve in curves.items()),
            "–",
            "straight lines (R² ≥ 0.98)",
            worst,
            "R² (minimum)",
            0.98,
            runs=runs,
            details={"curves": curves},
        )
    ]


def prompts_cost(subject: Subject) -> Any:
    """Scoring n prompts under set_projection."""
    from rhat.interventions import set_projection
    from rhat.model.logits import last_logits

    edits = set_projection(subject.direction).edits(subject.model)

    def of(n: int) -> Any:
        plan = subject.model.plan(subject.texts(n))
        return lambda: [None for _ in last_logits(subject.model, plan, edits)]

    return of


def candidates_cost(subject: Subject) -> Any:
    """Scoring n ablated candidates on 32 prompts."""
    from rhat.interventions import Intervention
    from rhat.scoring import last_token_scores

    model, means, tokens = subject.model, subject.survey.means, subject.survey.token_ids
    plan = model.plan(subject.texts(32))

    def of(n: int) -> Any:
        layers = [1 + i % (model.n_layers - 1) for i in range(n)]
        raws = [means.candidates[layer, -1] for layer in layers]
        edits = [
            Intervention("ablate", (raw / raw.norm()).float(), layer, where="all layers").edits(model)
            for raw, layer in zip(raws, layers, strict=True)
        ]
        return lambda: [last_token_scores(model, plan, tokens, edit) for edit in edits]

    return of


def layers_cost(subject: Subject) -> Any:
    """Scoring 64 prompts under an edit that leaves n layers to run, the ones below kept."""
    from rhat.interventions import Intervention
    from rhat.model import cache_clean_run
    from rhat.model.logits import last_logits

    model = subject.model
    plan = model.plan(subject.texts(64))

    def of(n: int) -> Any:
        layer = model.n_layers - n
        base = cache_clean_run(model, plan, [layer])
        edits = Intervention("add", subject.direction.unit, layer, 1.0).edits(model)
        return lambda: [None for _ in last_logits(model, plan, edits, base)]

    return of


def draw(curves: dict[str, dict[str, Any]]) -> None:
    """The three curves side by side."""
    import plotly.graph_objects as go

    from rhat.display.canvas import GREEN, GREY, bare
    from rhat.display.static import to_svg

    titles = ["scoring prompts", "ablated candidates, 32 prompts", "layers left to run, 64 prompts"]
    figure = bare(y="Seconds", columns=3, subplot_titles=titles, height=300)
    for column, (name, curve) in enumerate(curves.items(), 1):
        ends = [0, max(curve["n"])]
        line = [curve["start"] + curve["slope"] * n for n in ends]
        figure.add_trace(
            go.Scatter(
                x=ends,
                y=line,
                mode="lines",
                line={"color": GREY, "dash": "dash", "width": 1.5},
                name="straight line",
                showlegend=column == 1,
            ),
            row=1,
            col=column,
        )
        figure.add_trace(
            go.Scatter(
                x=curve["n"],
                y=curve["seconds"],
                mode="markers",
                marker={"color": GREEN, "size": 8},
                name="median",
                showlegend=column == 1,
            ),
            row=1,
            col=column,
        )
        figure.update_xaxes(title_text=f"Number of {name}", row=1, col=column)
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    FIGURE.write_text(to_svg(figure, "Cost grows in straight lines"), encoding="utf-8")
