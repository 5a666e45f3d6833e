"""What the report shows beside the questions: primary claims, controls, tokens, candidates, prompts and the run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rhat.artifacts.run import Results
from rhat.display import canvas, wording
from rhat.display.canvas import AMBER, GREY
from rhat.display.tables import (
    CONDITION,
    KL,
    LAYER,
    RATE,
    SCORE,
    UNIT_DIFFERENCE,
    VERDICT,
    VERSUS,
    Column,
    Head,
    N,
    Table,
    build,
    figure,
    joined,
    text,
    whole,
)
from rhat.display.wording import number, p_value, percent
from rhat.questions.question import Drawing, Figure
from rhat.vocabulary import PARAMETERS

CONTROLLED = {"harmless": "set_projection", "harmful": "ablate"}  # the edit that controls of these prompts stand beside


def primary(results: Results) -> list[Table]:
    """The five primary claims, with the verdict by their jointly adjusted p.

    Raises:
        ArtifactError: if a claim names a comparison that the run has not.
    """
    rows = [joined(results.claimed(claim), claim) for claim in results.primary]
    columns = [text("Claim", "claim"), VERSUS, UNIT_DIFFERENCE, figure("Holm p", "holm_p", p_value), VERDICT, N]
    return build("Primary claims, Holm-adjusted together", rows, columns)


def tokens(results: Results) -> list[Table]:
    """The refusal tokens."""
    columns: list[Column] = [
        (Head("Token"), lambda row: repr(row.text)),
        figure("Id", "id", str),
        figure("Share of refusals", "share", percent),
    ]
    return build("Refusal tokens, found on training prompts", results.refusal_tokens, columns)


def candidates(results: Results) -> list[Table]:
    """Every candidate, and how many each rule removed."""
    columns = [
        figure("Position", "position", whole),
        LAYER,
        figure("Induce (nats)", "induce_score"),
        figure("Ablation (nats)", "ablation_score"),
        figure("KL (nats)", "kl"),
        text("Status", "status"),
    ]
    removed: list[Any] = []
    rule = ""
    if selection := results.selection:
        removed = [SimpleNamespace(rule=rule, count=count) for rule, count in (selection.removed or {}).items()]
        rule = selection.rule
    caption = f"Candidates removed by each rule ({rule} rule)"
    return [
        *build(caption, removed, [text("Rule", "rule"), figure("Removed", "count", str)]),
        *build("Every candidate", results.candidates, columns, collapsed=True),
    ]


def prompts(results: Results) -> list[Table]:
    """How many prompts went in."""
    columns = [text("Split", "split"), text("Prompts", "label")]
    columns += [figure(key.capitalize(), key, str) for key in ("given", "kept", "used")]
    return build("Prompts by split: given, kept by the behaviour filter, used", results.prompts, columns)


def controls(results: Results) -> list[Table]:
    """Random directions, agreement of the two scores, and power."""
    random = [
        CONDITION,
        text("Kind", "kind", lambda kind: kind.replace("_", " ")),
        figure("Seed", "seed", str),
        text("Prompts", "prompts"),
        SCORE,
        RATE,
        KL,
        N,
    ]
    agreement = [
        CONDITION,
        text("Prompts", "prompts"),
        figure("Agreement", "agreement", percent),
        figure("κ", "kappa"),
        N,
    ]
    found = results.score_agreement
    rows = [joined(found, prompts="all"), *found.conditions] if found else []
    power = [
        VERSUS,
        text("Prompts", "prompts"),
        N,
        figure("Discordant pairs", "discordant_share", percent),
        figure("Power", "power", percent),
        figure("Prompts needed", "prompts_needed", str),
    ]
    return [
        *build("Agreement of judge and log-odds", rows, agreement),
        *build("Control directions", results.random_controls, random, collapsed=True),
        *build("Prompts needed for 80% power at the margin", results.power, power, collapsed=True),
    ]


def categories(results: Results) -> list[Table]:
    """Refusal rates within each category of prompts: one table a kind of prompts, one column a condition."""
    found = []
    for label in canvas.unique(row.prompts for row in results.category_rates):
        mine = [row for row in results.category_rates if row.prompts == label]
        names = canvas.unique(row.condition for row in mine)
        cells = {(row.category, row.condition): wording.rate(row) for row in mine}
        rows = [
            SimpleNamespace(
                category=row.category, n=row.n, **{name: cells.get((row.category, name), "") for name in names}
            )
            for row in {row.category: row for row in mine}.values()
        ]
        columns = [text("Category", "category", lambda name: name.replace("_", " "))]
        columns += [figure(wording.condition(name), name, str) for name in names]
        found += build(f"Refusals of {label} prompts by category, 95% interval", rows, [*columns, N])
    return found


def examples(results: Results) -> list[Table]:
    """The first harmless prompts with their answers and verdicts."""
    columns: list[Column] = [
        text("Request", "prompt"),
        CONDITION,
        (Head("Answer, as far as it was read", wide=True), lambda row: row.answer),
        text("Verdict", "verdict"),
    ]
    return build("The first harmless test prompts and their answers", results.examples, columns)


def conditions(results: Results) -> list[Table]:
    """What each condition id stands for."""
    rows = [joined(condition, id=name) for name, condition in results.conditions.items()]
    columns = [
        text("Condition", "id"),
        text("Operator", "op"),
        text("Direction", "direction"),
        text("Sites", "sites", ", ".join),
        text("Scope", "scope"),
        *(figure(name.capitalize(), name) for name in PARAMETERS),
        text("Heads", "heads", lambda heads: ", ".join(f"L{layer} H{head}" for layer, head in heads)),
    ]
    return build("Conditions", rows, columns, collapsed=True)


def run(results: Results) -> list[Table]:
    """Timings, settings and manifest."""
    timings = [
        text("Stage", "stage"),
        figure("Seconds", "seconds", lambda value: number(value, 1)),
        figure("Tokens through blocks", "block_tokens"),
        figure("Tokens through the vocabulary", "vocabulary_tokens"),
        figure("GFLOP", "gflop", lambda value: number(value, 1)),
    ]
    free: list[Column] = [text("Field", "field"), (Head("Value", wide=True), lambda row: row.value)]
    return [
        *conditions(results),
        *build("Timings", results.timings, timings, collapsed=False),
        *build("Settings", _flat(results.settings), free, collapsed=False),
        *build("Manifest", _flat(results.manifest), free, collapsed=False),
    ]


def _flat(value: Any, name: str = "") -> list[Any]:
    """Nested settings as rows of dotted field and value."""
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in _flat(inner, f"{name}.{key}" if name else str(key))]
    shown = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return [SimpleNamespace(field=name, value=shown)] if name else []


def random_controls(results: Results) -> Figure | None:
    """Every control direction beside the real one: a panel for each kind of prompt, since their scores share no scale."""
    rows = results.random_controls
    if not rows:
        return None
    measure = canvas.SCORE if all(row.score_mean is not None for row in rows) else canvas.measure_of(rows)
    shown = [label for label in CONTROLLED if any(row.prompts == label for row in rows)]
    titles = [f"{label.capitalize()} prompts" for label in shown]
    figure = canvas.bare(height=80 + 340 * len(shown), rows=len(shown), subplot_titles=titles, vertical_spacing=0.18)
    for panel, label in enumerate(shown, start=1):
        lines = _control_lines(
            results, label, canvas.having([row for row in rows if row.prompts == label], measure), measure
        )
        for place, (_, mine, tone, opacity) in enumerate(lines):
            trace = canvas.dots(canvas.spread(place, len(mine), width=0.8), mine, measure, [tone] * len(mine))
            trace.update(marker={"opacity": opacity, "size": 9 if len(mine) == 1 else 5})
            trace.update(hovertemplate="%{x} (n = %{customdata})<extra></extra>")
            figure.add_trace(trace, row=panel, col=1)
        ticks = {"tickmode": "array", "tickvals": list(range(len(lines))), "ticktext": [name for name, *_ in lines]}
        figure.update_yaxes(range=[len(lines) - 0.5, -0.5], showgrid=False, row=panel, col=1, **ticks)
        canvas.scale(figure.update_xaxes, measure, [row for _, mine, *_ in lines for row in mine], row=panel, col=1)
    figure.update_xaxes(title_text=f"{measure.title}, 95% interval", row=len(shown), col=1)
    return figure


def _control_lines(
    results: Results, label: str, rows: Any, measure: canvas.Measure
) -> list[tuple[str, list[Any], str, float]]:
    """The lines of one panel: a name, its rows, colour and opacity; random directions first, the real edit last."""
    kinds = {"orthogonal": ("Random<br>directions", GREY), "permuted_labels": ("Permuted<br>labels", AMBER)}
    lines: list[tuple[str, list[Any], str, float]] = [
        (name, [row for row in rows if row.kind == kind], tone, 0.6) for kind, (name, tone) in kinds.items()
    ]
    measured = results.scores if measure is canvas.SCORE else results.rates
    for condition in ("baseline", CONTROLLED[label]):
        real = [row for row in measured if (row.condition, row.prompts) == (condition, label)]
        lines.append((wording.condition(condition).replace(" ", "<br>"), real, canvas.colour(condition), 1))
    return [line for line in lines if line[1]]


def candidate_scores(results: Results) -> Figure | None:
    """Induce score of every candidate by layer and position."""
    import plotly.graph_objects as go

    rows = [row for row in results.candidates if row.induce_score is not None]
    if not rows:
        return None
    cells = {(row.position, row.layer): row.induce_score for row in rows}
    positions = sorted({position for position, _ in cells})
    layers = sorted({layer for _, layer in cells})
    z = [[cells.get((position, layer)) for layer in layers] for position in positions]
    figure = canvas.bare("Layer", "Token position", height=150 + 34 * len(positions))
    figure.add_trace(canvas.heat(layers, positions, z, "nats", text=False))
    chosen = [row for row in rows if row.status == "selected"]
    if chosen:
        style = {
            "symbol": "circle-open",
            "size": 14,
            "color": "#ffffff",
            "line": {"width": 2.5, "color": "#ffffff"},
        }
        x, y = [row.layer for row in chosen], [row.position for row in chosen]
        figure.add_trace(
            go.Scatter(x=x, y=y, mode="markers", name="Selected", marker=style, showlegend=False, hoverinfo="name")
        )
    figure.update_yaxes(dtick=1, showgrid=False)
    figure.update_xaxes(showgrid=False)
    return figure


CONTROLS = Drawing(
    "random_controls",
    "Control directions given the same displacement",
    "Refusal under each control direction, beside baseline and the real one; harmless and harmful prompts apart.",
    random_controls,
)
CANDIDATES = Drawing(
    "candidates",
    "Induce score of every candidate",
    "Heat map by layer and token position; a circle marks the one selected.",
    candidate_scores,
)
