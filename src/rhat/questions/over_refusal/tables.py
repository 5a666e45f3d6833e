"""Tables: Is over-refusal the same direction?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display.tables import N, Table, build, comparisons, figure, rates, text, with_interval
from rhat.display.wording import percent
from rhat.questions.over_refusal.rows import Rows

GUARD = {
    "auroc": "ROC area, harmful against harmless",
    "false_positive_rate": "Harmless prompts flagged",
    "true_positive_rate": "Harmful prompts flagged",
    "borderline_flagged": "Borderline prompts flagged",
}


def tables(results: Results) -> list[Table]:
    """The tables of its section."""
    columns = [text("Borderline prompts", "group"), figure("Mean", "mean"), figure("Sd", "sd"), N]
    guard = [
        text("Measure", "measure", GUARD.__getitem__),
        with_interval("Measured, 95% interval", "estimate", 3),
        figure("Threshold", "threshold"),
        figure("Calibrated for", "target_fpr", percent),
        N,
    ]
    projected = results.part(Rows).borderline_projections
    return [
        *rates(results, "borderline"),
        *comparisons(results, "over_refusal"),
        *build("Projections at r̂'s layer (residual units)", projected, columns),
        *build("A guard on the projection, on test prompts", results.part(Rows).guard, guard),
    ]
