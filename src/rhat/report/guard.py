"""The guard in sentences: what a threshold on the projection flagged on test prompts, and what acting on it changed."""

from __future__ import annotations

from rhat.artifacts.rows import Comparison
from rhat.artifacts.run import Results
from rhat.display.tables import N, Table, build, numeric, text
from rhat.display.wording import condition, difference, interval, judgement, margin_points, number, percent
from rhat.questions.over_refusal.rows import GuardRow, Rows

FLAGGED = (
    ("false_positive_rate", "harmless"),
    ("borderline_flagged", "borderline"),
    ("true_positive_rate", "harmful"),
)


def sentences(results: Results) -> list[str]:
    """What was promised, what was flagged, how well the projection separates, what each conditional intervention changed."""
    rows = {row.measure: row for row in results.part(Rows).guard}
    if not rows:
        return []
    first = next(iter(rows.values()))
    flagged = [f"{_share(rows[key])} of {label} prompts (n = {rows[key].n})" for key, label in FLAGGED if key in rows]
    said = [
        f"A threshold of {number(first.threshold)} on the projection was calibrated to flag {percent(first.target_fpr)} of harmless prompts. "
        f"On test prompts it flagged {', '.join(flagged)}."
    ]
    if row := rows.get("auroc"):
        ends = interval(row.ci_low, row.ci_high, digits=3)
        said.append(
            f"The projection separates harmful from harmless prompts with an AUROC of {number(row.estimate, 3)} {ends}."
        )
    return said + [_changed(row) for row in compared(results)]


def compared(results: Results) -> list[Comparison]:
    """The comparisons of interventions that act on one side of the threshold."""
    return [row for row in results.comparisons if row.treatment.startswith("guard:")]


def tables(results: Results) -> list[Table]:
    """What each conditional intervention changed."""
    columns = [
        text("Intervention", "treatment", condition),
        text("Prompts", "prompts"),
        numeric("Refusals, difference from the baseline, 95% interval", difference),
        numeric("Verdict", judgement),
        N,
    ]
    return build("Interventions conditional on the threshold", compared(results), columns)


def _share(row: GuardRow) -> str:
    return f"{percent(row.estimate)} {interval(row.ci_low, row.ci_high, scale=100, digits=1)}"


def _changed(row: Comparison) -> str:
    margin = f"by less than {margin_points(row.margin)}"
    words = {
        "better": f"raises refusals{f', {margin}' if row.equivalent else ''}",
        "worse": f"lowers refusals{f', {margin}' if row.equivalent else ''}",
        "equivalent": f"changes refusals {margin}",
        "undecided": "is not shown to change refusals",
    }
    return f"{condition(row.treatment)}, {row.prompts} prompts: {words[row.verdict]} ({difference(row)}, n = {row.n})."
