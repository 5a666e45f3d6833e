"""Verdict: Is it one direction?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import number, percent
from rhat.questions.question import Verdict
from rhat.questions.stability.rows import Rows, Split, Stability


def verdict(results: Results) -> Verdict | None:
    """Is it one direction?"""
    rows = results.part(Rows)
    text, reasons = _refits(rows.stability)
    told = [*([text] if text else []), *reasons, *_pipeline(rows), *_splits(rows.splits)]
    return Verdict("measured", told[0], tuple(told[1:])) if told else None


def _refits(found: Stability | None) -> tuple[str, list[str]]:
    """What is left to find once r̂ is ablated, and how alike refits are; empty where that was not measured."""
    if not found:
        return "", []
    reasons = []
    for values, name in ((found.split_half, "halves of the training prompts"), (found.seeds, "other draws of them")):
        if values:
            mean = sum(values) / len(values)
            reasons.append(
                f"Cosine between {name}: mean {number(mean)}, from {number(min(values))} to "
                f"{number(max(values))} ({len(values)} of them)."
            )
    refits = [row for row in found.refits if row.round > 0 and row.induce is not None]
    left = [(row, row.verdict == "better") for row in refits if row.verdict is not None]
    reasons += [
        f"Round {row.round}: setting it, {wording.outcome(row.induce, 'harmless')}"
        + (f"; ablating it, {wording.outcome(row.prevent, 'harmful')}." if row.prevent is not None else ".")
        for row in refits
    ]
    if not left:
        return "", reasons
    still = next((row for row, above in left if above), None)
    if still is None:
        return (
            "With r̂ ablated, no further direction was found that is shown to raise refusal scores when it is set.",
            reasons,
        )
    own = next((row.induce for row in found.refits if row.round == 0 and row.induce is not None), None)
    beside = "" if own is None else f"; r̂: {wording.measure(own)}"
    return (
        f"Setting the direction of round {still.round}, found with r̂ ablated, still raises refusal scores of harmless prompts (mean "
        f"{wording.measure(still.induce)}{beside}); rounds are not adjusted for one another, and no control direction was tried.",
        reasons,
    )


def _pipeline(rows: Rows) -> list[str]:
    """Where other prompts of the same kind would have put r̂, and what its effect owes to those that it was found on."""
    found, again = rows.pipeline, rows.resamples
    if found is None:
        return []
    none = found.samples - found.found
    missing = f" On {none} of them no candidate passes the rules." if none else ""
    if not again:
        return [f"r̂ was looked for again on {found.samples} samples of the topics that it was found on.{missing}"]
    layers, cosines = [row.layer for row in again], [row.cosine for row in again]
    where = f"layer {layers[0]}" if len(set(layers)) == 1 else f"layers {min(layers)} to {max(layers)}"
    same = f", in {found.same_place} of {found.found} at this very layer and position" if found.reselected else ""
    told = [
        f"Found again on {found.samples} samples of the topics that it was found on, r̂ is at {where}{same}; its cosine with this one "
        f"is {_between(cosines, number)}.{missing}"
    ]
    if found.pipeline_ci_low is None or found.pipeline_ci_high is None:
        return told
    rates = [row.effect.rate for row in again if row.effect.rate is not None]
    whole = wording.interval(found.pipeline_ci_low, found.pipeline_ci_high, scale=100, digits=1)
    clear = {
        "better": "so setting an r̂ found on other such prompts makes it refuse more too",
        "worse": "so setting an r̂ found on other such prompts makes it refuse less too",
    }.get(found.verdict or "", "so an r̂ found on other such prompts may have no effect")
    spread = f" Set, these directions lead to {_between(rates, percent)} refused." if rates else ""
    return [
        *told,
        f"Setting r̂ changes refusals of the first {found.n} harmless test prompts by {wording.difference(found)} if only the "
        f"test prompts were others, and {whole} if the prompts that it was found on were others too: {clear}.{spread}",
    ]


def _splits(rows: Sequence[Split]) -> list[str]:
    """How r̂ and the headline rates vary over splits of the same prompts."""
    others = [row for row in rows if row.split]
    if not others:
        return []
    found = [row for row in others if row.cosine is not None]
    told = wording.count(len(others), "other split")
    none = len(others) - len(found)
    missing = f" On {none} of them the search ended without a direction." if none else ""
    if not found:
        return [f"r̂ was looked for on {told} of the same prompts.{missing}"]
    layers, cosines = [row.layer for row in found if row.layer is not None], [row.cosine for row in found]
    where = f"layer {layers[0]}" if len(set(layers)) == 1 else f"layers {min(layers)} to {max(layers)}"
    whole = [row for row in rows if row.cosine is not None]
    return [
        f"Found on {told} of the same prompts, r̂ is at {where}; its cosine with this one is {_between(cosines, number)}."
        f"{missing} Over all splits, setting it makes the model refuse {_rates(whole, 'set_projection')} of harmless prompts "
        f"({_rates(whole, 'baseline')} without), and ablating it leaves {_rates(whole, 'ablate')} of harmful prompts refused "
        f"({_rates(whole, 'baseline_harmful')} without)."
    ]


def _rates(rows: Sequence[Split], name: str) -> str:
    return _between([effect.rate for row in rows if (effect := getattr(row, name))], percent)


def _between(values: Sequence[float | None], shown: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    low, high = shown(min(known)), shown(max(known))
    return low if low == high else f"{low} to {high}"
