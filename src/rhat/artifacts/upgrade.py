"""From earlier versions of results.json to version 3.

From 1 to 2: verdicts by the one judge, in every row that has a difference; keys, not numbers. Version 1 judged comparisons before Holm's adjustment and left the other rows to the reader. What version 2 measures prompt by
prompt, and version 1 did not keep, is read off the intervals it did keep.

From 2 to 3: answers are in four classes. What was `neither` is `degenerate`, which is what it meant; `partial` stays absent, because
those answers were counted as refused or as complied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rhat.artifacts.claims import primary_claims
from rhat.artifacts.judging import adjust, noninferior_in_sequence
from rhat.artifacts.rows import Comparison
from rhat.statistics import judge
from rhat.statistics.judgement import ALPHA

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
    _comparisons(results)
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


def _comparisons(results: Row) -> None:
    """Comparisons adjusted and judged anew, and the claims by their own tests; power only of what is undecided.

    Version 1 kept no discordant counts, but their sum in `power` and their difference in `difference`. Where a run has no `power`, its
    comparisons keep their p values.
    """
    rows = results.get("comparisons", [])
    shares = {_names(row): row["discordant_share"] for row in results.get("power", []) if "discordant_share" in row}
    for row in rows:
        row["verdict"] = judge(_ends(row), (row["ci90_low"], row["ci90_high"]), row["margin"], row.get("holm_p"))
        if "question" in row:
            row["question"] = QUESTIONS[row["question"]]
    if all(_names(row) in shares for row in rows):
        for row in rows:
            apart, either = round(row["difference"] * row["n"]), round(shares[_names(row)] * row["n"])
            row |= {"treatment_only": (either + apart) // 2, "reference_only": (either - apart) // 2}
        compared = adjust([Comparison.model_validate(row) for row in rows])
        rows[:] = [row.plain() for row in compared]
        if "primary" in results:
            results["primary"] = [claim.plain() for claim in primary_claims(compared)]
    _scopes(results, rows)
    words = {_names(row): row["verdict"] for row in rows}
    for claim in results.get("primary", []):
        claim.setdefault("verdict", words.get(_names(claim), "undecided"))
    for row in results.get("power", []):
        row.pop("power", None)
    if "power" in results:
        results["power"] = [row for row in results["power"] if words.get(_names(row)) == "undecided"]


def _scopes(results: Row, rows: list[Row]) -> None:
    """Which scopes are enough, from the largest down."""
    beside = {row["treatment"]: row for row in rows if row.get("question") == "scopes"}
    order = sorted(results.get("scopes", []), key=lambda row: -row["token_share"])
    order = [row for row in order if row["scope"] != "all" and f"scope:{row['scope']}" in beside]
    found = [Comparison.model_validate(beside[f"scope:{row['scope']}"]) for row in order]
    for row, p in zip(order, noninferior_in_sequence(found), strict=True):
        row |= {"sequence_p": p, "enough": p < ALPHA}


def _prediction(found: Row) -> None:
    ends = found.get("score_ci_low"), found.get("score_ci_high")
    for value, name in (("predicted_score", "inside"), ("predicted_score_last_token", "inside_last_token")):
        if value in found:
            found[name] = bool(ends[0] <= found[value] <= ends[1])


def _heads(found: Row) -> None:
    """Verdicts. The smallest k of version 1 was told by log-odds against one draw of random heads, and is dropped."""
    for row in found.get("comparisons", []):
        row["verdict"] = judge(_ends(row), holm_p=row.get("holm_p"))
        row.pop("clears", None)
    for name in ("smallest_k", "smallest_k_greedy"):
        found.pop(name, None)


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
