"""Tables: Is over-refusal the same direction?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display.tables import CONDITION, N, Table, build, comparisons, figure, numeric, rates, text, with_interval
from rhat.display.wording import difference, percent, rate
from rhat.questions.over_refusal.beside import TOLD, side_by_side
from rhat.questions.over_refusal.rows import Rows

GUARD = {
    "auroc": "ROC area, harmful against harmless",
    "false_positive_rate": "Harmless prompts flagged",
    "true_positive_rate": "Harmful prompts flagged",
    "borderline_flagged": "Borderline prompts flagged",
    "twin_flagged": "Unsafe twins flagged",
}


def tables(results: Results) -> list[Table]:
    """The tables of its section."""
    columns = [
        text("Prompts", "group", lambda group: group if group == "twins" else f"borderline, {group}"),
        figure("Mean", "mean"),
        figure("Sd", "sd"),
        N,
    ]
    guard = [
        text("Measure", "measure", GUARD.__getitem__),
        with_interval("Measured, 95% interval", "estimate", 3),
        figure("Threshold", "threshold"),
        figure("Calibrated for", "target_fpr", percent),
        N,
    ]
    beside = [
        CONDITION,
        numeric("Borderline refused, 95% interval", lambda row: rate(row.borderline)),
        numeric("Twins refused, 95% interval", lambda row: rate(row.twin) if row.twin else ""),
        numeric("Borderline − baseline", lambda row: difference(row.change) if row.change else ""),
        numeric("Twins − baseline", lambda row: difference(row.twin_change) if row.twin_change else ""),
        text("Both together", "reading", lambda word: TOLD.get(word, "")),
    ]
    projected = results.part(Rows).borderline_projections
    return [
        *build("Borderline prompts beside their unsafe twins", side_by_side(results), beside),
        *rates(results, "borderline"),
        *rates(results, "twin"),
        *comparisons(results, "over_refusal"),
        *build("Projections at r̂'s layer (residual units)", projected, columns),
        *build("A guard on the projection, on test prompts", results.part(Rows).guard, guard),
    ]
