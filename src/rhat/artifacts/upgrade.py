"""From earlier versions of results.json to version 3.

From 1 to 2: verdicts by the one judge, in every row that has a difference; keys, not numbers. Version 1 judged comparisons before Holm's adjustment and left the other rows to the reader. What version 2 measures prompt by
prompt, and version 1 did not keep, is read off the intervals it did keep.

From 2 to 3: answers are in four classes. What was `neither` is `degenerate`, which is what it meant; `partial` stays absent, because
those answers were counted as refused or as complied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rhat.statistics import judge

NEAR = 0.10  # version 1's share of the gap between the means within which a projection was near zero
CHANCE = 0.5

QUESTIONS = {
    1: "induce",
    2: "projections",
    3: "pca",
    4: "suppress",
    5: "scopes",
    6: "repe",
    7: "heads",
    8: "finders",
    9: "over_refusal",
    10: "dose_response",
    11: "stability",
}

Row = dict[str, Any]


def upgrade(found: Mapping[str, Any]) -> Row:
    """Results of version 1 or 2 as version 3 tells them; the rows given are left alone."""
    results = {key: _copied(value) for key, value in found.items()}
    if results["schema_version"] == 1:
        _judged_once(results)
    for row in results.get("rates", []):
        row["degenerate"] = row.pop("neither")
    results["schema_version"] = 3
    return results


def _judged_once(results: Row) -> None:
    """From version 1 to version 2, in place."""
    compared = results.get("comparisons", [])
    for row in compared:
        row["verdict"] = _of_rates(row, row.get("holm_p"))
        if "question" in row:
            row["question"] = QUESTIONS[row["question"]]
    for claim in results.get("primary", []):
        names = _names(claim)
        claim["verdict"] = next(
            (_of_rates(row, claim["holm_p"]) for row in compared if _names(row) == names), "undecided"
        )
    near = results.get("near_zero", {}).get("threshold_share", NEAR)
    for row in results.get("layers", []):
        row["verdict"] = judge(_ends(row))
        gap = abs(row["harmful_mean_projection"] - row["harmless_mean_projection"])
        row["near_zero"] = bool(abs(row["harmless_mean_projection"]) <= near * gap)
    for key in ("auroc", "auroc_within", "ccs"):
        for row in results.get(key, []):
            row["verdict"] = judge(_ends(row, CHANCE))
    both = results.get("ablate_vs_subtract", {})
    for row in both.get("matched", []):
        row["verdict"] = judge(_ends(row))
    if "spearman_projection_gap" in both:
        both["spearman_projection_gap"]["verdict"] = judge(_ends(both["spearman_projection_gap"]))
    if "prediction" in results:
        _prediction(results["prediction"])
    if "heads" in results:
        _heads(results["heads"])
    for row in results.get("stability", {}).get("refits", []):
        _refit(row, results)


def _of_rates(row: Row, p: float | None) -> str:
    return judge(_ends(row), (row["ci90_low"], row["ci90_high"]), row["margin"], p)


def _prediction(found: Row) -> None:
    ends = found.get("score_ci_low"), found.get("score_ci_high")
    for value, name in (("predicted_score", "inside"), ("predicted_score_last_token", "inside_last_token")):
        if value in found:
            found[name] = bool(ends[0] <= found[value] <= ends[1])


def _heads(found: Row) -> None:
    """Verdicts, and the smallest k by them."""
    rows = found.get("comparisons", [])
    for row in rows:
        row["verdict"] = judge(_ends(row), holm_p=row.get("holm_p"))
        row.pop("clears", None)
    for name, kind in (("smallest_k", "attributed"), ("smallest_k_greedy", "greedy")):
        found.pop(name, None)
        of_kind = [row for row in rows if row["kind"] == kind]
        failing = {row["k"] for row in of_kind if row["verdict"] != "better"}
        if clearing := {row["k"] for row in of_kind} - failing:
            found[name] = min(clearing)


def _refit(row: Row, results: Row) -> None:
    """Whether setting it refuses more than the baseline: where the two intervals do not touch."""
    if "induce" not in row:
        return
    key, kind = ("rates", "") if "rate" in row["induce"] else ("scores", "score_")
    for base in results.get(key, []):
        if (base["condition"], base["prompts"]) == ("baseline", "harmless"):
            low, high = f"{kind}ci_low", f"{kind}ci_high"
            row["verdict"] = judge((row["induce"][low] - base[high], row["induce"][high] - base[low]))


def _ends(row: Row, null: float = 0.0) -> tuple[float, float]:
    return row["ci_low"] - null, row["ci_high"] - null


def _names(row: Row) -> tuple[str, str, str]:
    return row["treatment"], row["reference"], row["prompts"]


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value
