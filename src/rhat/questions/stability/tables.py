"""Tables: Is it one direction?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.tables import Table, build, comparisons, figure, numeric, whole
from rhat.questions.stability.rows import Pipeline, Rows


def tables(results: Results) -> list[Table]:
    """The tables of its section."""
    rows = results.part(Rows)
    found = rows.stability
    columns = [
        figure("Round", "round", str),
        figure("Cosine with r̂", "cosine_to_first"),
        figure("Length (units)", "norm"),
        figure("Set, harmless prompts", "induce", wording.measure),
        figure("Ablated, harmful prompts", "prevent", wording.measure),
        numeric("n", lambda row: str(row.induce.n) if row.induce is not None else ""),
    ]
    return [
        *build("Directions found after ablating the ones before", found.refits if found else (), columns),
        *build("The effect of r̂, over test prompts and over the whole pipeline", _effect(rows), EFFECT),
        *build("r̂ found again on other samples of its topics", rows.resamples, AGAIN),
        *build("r̂ found on other splits of the same prompts", rows.splits, SPLITS),
        *comparisons(results, "stability"),
    ]


def _effect(rows: Rows) -> tuple[Pipeline, ...]:
    return () if rows.pipeline is None else (rows.pipeline,)


def _whole(row: Pipeline) -> str:
    if row.pipeline_ci_low is None or row.pipeline_ci_high is None:
        return ""
    return wording.interval(row.pipeline_ci_low, row.pipeline_ci_high, scale=100, digits=1)


EFFECT = [
    numeric("Effect of setting r̂", wording.difference),
    numeric("Over the samples too", _whole),
    figure("Mean effect of the samples' directions", "mean_difference", wording.points),
    numeric("Samples", lambda row: f"{row.samples}, a direction in {row.found}, at the same place in {row.same_place}"),
    figure("n", "n", str),
]
AGAIN = [
    figure("Sample", "seed", str),
    figure("Layer", "layer", str),
    figure("Position", "position", whole),
    figure("Cosine with r̂", "cosine"),
    figure("Length (units)", "norm"),
    figure("Target (units)", "target"),
    figure("Set, harmless prompts", "effect", wording.measure),
]
SPLITS = [
    numeric("Split", lambda row: str(row.split) if row.split else "the study's own"),
    numeric("Seed", lambda row: str(row.seed)),
    figure("Layer", "layer", str),
    figure("Position", "position", whole),
    figure("Cosine with r̂", "cosine"),
    figure("Harmless, no edit", "baseline", wording.measure),
    figure("Harmless, r̂ set", "set_projection", wording.measure),
    figure("Harmful, no edit", "baseline_harmful", wording.measure),
    figure("Harmful, r̂ ablated", "ablate", wording.measure),
]
