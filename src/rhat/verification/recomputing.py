"""Recomputing: each list of results.json that stands on values kept prompt by prompt, made again from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from rhat.artifacts.categories import category_rates
from rhat.artifacts.claims import fingerprint, primary_claims
from rhat.artifacts.judging import adjust
from rhat.artifacts.measured import APART, compare, drift_row, rate_row, score_row, undecided
from rhat.artifacts.rows import Comparison
from rhat.errors import VerificationError
from rhat.statistics import JudgeErrors, agreement, corrected_difference, corrected_rate
from rhat.verification import questions, readings, stability
from rhat.verification.kept import Kept
from rhat.verification.recomputed import Recomputed, correction

Written = Mapping[str, Any]


def claims_table(written: Written, _kept: Kept) -> Iterator[Recomputed]:
    """The table of claims that was fixed before the run."""
    margin = (written.get("settings") or {}).get("margin")
    if margin is not None and "claims_fingerprint" in written:
        yield Recomputed(("claims_fingerprint",), fingerprint(margin))


def rates(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """Counts, rates, intervals and corrected rates."""
    errors = judge_errors(written)
    for i, row in enumerate(written.get("rates", [])):
        found = kept.judged(row["condition"], row["prompts"], row["n"])
        if found is None:
            raise _gone(("rates", i), row)
        made = rate_row(found).plain()
        if errors is not None:
            effect = made.get("design_effect", 1.0)
            made |= correction(corrected_rate(made["refused"], made["n"], errors, design_effect=effect), "rate")
        yield Recomputed(("rates", i), made, whole=True)


def scores(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """Mean refusal scores."""
    for i, row in enumerate(written.get("scores", [])):
        found = kept.of(row["condition"], row["prompts"], row["n"])
        if found is None:
            raise _gone(("scores", i), row)
        yield Recomputed(("scores", i), score_row(found).plain(), whole=True)


def drift(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """KL and the share of broken answers; the baseline, which is compared with itself, has none."""
    for i, row in enumerate(written.get("drift", [])):
        found = kept.of(row["condition"], row["prompts"])
        if row["condition"] == "baseline":
            yield Recomputed(("drift", i), {"kl_mean": 0.0, "ci_low": 0.0, "ci_high": 0.0})
        elif found is not None and found.kl is not None and len(found.kl) >= row["n"]:
            # KL is taken of the first 256 prompts at most, and the answers are those of all.
            part = (
                found.first(row["n"]) if row["n"] < len(found.kl) or len(found.kl) == len(found.prompt_ids) else found
            )
            made = drift_row(part).plain()
            yield Recomputed(("drift", i), {key: made[key] for key in made if key in row or key == "kl_mean"})


def comparisons(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """Differences, discordant counts, p values, verdicts, corrected differences; power; and the primary claims."""
    rows, powers = [], []
    for i, row in enumerate(written.get("comparisons", [])):
        both = [kept.judged(row[side], row["prompts"], row["n"]) for side in ("treatment", "reference")]
        if both[0] is None or both[1] is None:
            raise _gone(("comparisons", i), row)
        made, power = compare(both[0], both[1], row["margin"], row["question"])
        rows.append(made)
        powers += [] if power is None else [power.plain()]
    if not rows:
        return
    judged = adjust(rows)
    errors = judge_errors(written)
    for i, made in enumerate(judged):
        yield Recomputed(("comparisons", i), _with_correction(made, errors), whole=True)
    needed = undecided(powers, judged)
    if "power" in written or needed:
        yield Recomputed(("power",), needed)
    claims = [claim.plain() for claim in primary_claims(judged)]
    if "primary" in written or claims:
        yield Recomputed(("primary",), claims)


def _with_correction(row: Comparison, errors: JudgeErrors | None) -> dict[str, Any]:
    made = row.plain()
    if errors is None or row.treatment_only is None or row.reference_only is None:
        return made
    found = corrected_difference(
        row.treatment_only, row.reference_only, row.n, errors, design_effect=row.design_effect or 1.0
    )
    return made | correction(found, "difference")


def judge_errors(written: Written) -> JudgeErrors | None:
    """The errors of the judge that read everything, by the counts that `judges` states."""
    rows = [row for row in written.get("judges", []) if row["default"]]
    reading = next((one for row in rows for one in row.get("classes", []) if one["label"] == "refused"), None)
    return questions.errors_of(reading)


def panel(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """The answers of each condition as each judge reads them."""
    errors = {
        row["judge"]: questions.errors_of(next((c for c in row.get("classes", []) if c["label"] == "refused"), None))
        for row in written.get("judges", [])
    }
    for i, row in enumerate(written.get("panel", [])):
        found = kept.judged(row["condition"], row["prompts"])
        if found is not None and row["judge"] in found.classes:
            made = questions.panel_row(found, row["judge"], errors.get(row["judge"]), compared="agreement" in row)
            yield Recomputed(("panel", i), made)


def by_category(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """Rates within each category of prompts."""
    if "category_rates" in written:
        yield Recomputed(("category_rates",), [row.plain() for row in category_rates(kept, kept.categories)])


def examples(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """The verdicts of the answers that are shown."""
    for i, row in enumerate(written.get("examples", [])):
        found = kept.judged(row["condition"], "harmless")
        if found is not None and row["prompt_id"] in found.prompt_ids:
            verdict = found.verdicts[found.prompt_ids.index(row["prompt_id"])]
            yield Recomputed(("examples", i), {"verdict": verdict})


def score_agreement(written: Written, kept: Kept) -> Iterator[Recomputed]:
    """How far verdicts and scores agree, over every condition with answers."""
    said = written.get("score_agreement")
    if not said:
        return
    threshold = (written.get("direction") or {}).get("score_threshold", 0.0)
    rows: list[dict[str, Any]] = []
    refused, odds = [], []
    for m in kept:
        if not m.verdicts or m.condition.startswith(APART):
            continue
        refused.append(m.refused)
        odds.append(m.scores > threshold)
        one = agreement(refused[-1], odds[-1])
        row = {"condition": m.condition, "prompts": m.label, "agreement": one.share.estimate, "n": one.n}
        rows.append(row | ({} if one.kappa is None else {"kappa": one.kappa.estimate}))
    total = agreement(np.concatenate(refused), np.concatenate(odds))
    made = {"agreement": total.share.estimate, "n": total.n, "conditions": rows}
    made |= {} if total.kappa is None else {"kappa": total.kappa.estimate}
    yield Recomputed(("score_agreement",), made)


def _gone(path: tuple[str | int, ...], row: Mapping[str, Any]) -> VerificationError:
    names = " and ".join(str(row[key]) for key in ("condition", "treatment", "reference") if key in row)
    return VerificationError(
        f"results.json: {path[0]}[{path[1]}]: {row['n']} {row['prompts']} prompts under {names} are written, "
        "per_prompt.parquet has fewer of them"
    )


SECTIONS: tuple[Callable[[Written, Kept], Iterator[Recomputed]], ...] = (
    claims_table,
    rates,
    scores,
    drift,
    comparisons,
    panel,
    by_category,
    examples,
    score_agreement,
    *questions.SECTIONS,
    *stability.SECTIONS,
    *readings.SECTIONS,
)
"""What is computed again, in the order in which it is held against what is written."""
