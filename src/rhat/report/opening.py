"""The opening: what was found on this model, in three sentences that say no more than their claims and their judge allow; and where r̂ is."""

from __future__ import annotations

import re

from rhat.artifacts.header import Claim
from rhat.artifacts.judges import JudgeRow
from rhat.artifacts.rows import Rate
from rhat.artifacts.run import Results
from rhat.display.wording import margin_points, percent
from rhat.report.judges import name, unpassed


def opening(results: Results) -> tuple[str, ...]:
    """Setting, removing and random directions, each as its primary claim allows it; then where r̂ is, or why there is none.

    A sentence is left out where the run did not make its comparison. Where the judge of the answers has not passed, that comes first,
    and the rates are told as what it read: no claim stands on them.
    """
    failed = unpassed(results)
    if failed is not None:
        readings = (_reading(results, claim_id, done) for claim_id, done in READ.items())
        read = tuple(sentence for sentence in readings if sentence)
        return (*((_not_passed(failed),) if read else ()), *read, place(results))
    told = (
        _effect(results, "set_vs_baseline", "better", "Setting", "set", "an increase"),
        _effect(results, "ablate_vs_baseline", "worse", "Removing", "removed", "a decrease"),
        _random(results),
    )
    return tuple(sentence for sentence in (*told, place(results)) if sentence)


READ = {
    "set_vs_baseline": "With r̂ set",
    "ablate_vs_baseline": "With r̂ removed",
    "random_vs_baseline": "With random directions set",
}


def _not_passed(judge: JudgeRow) -> str:
    return (
        f"The judge of these answers has not passed: on the labelled answers that come with rhat, {name(judge)} does not tell refusals "
        "from other answers well enough for a headline, so what follows is what it read and shows nothing."
    )


def _reading(results: Results, claim_id: str, done: str) -> str:
    found = _claimed(results, claim_id)
    if found is None:
        return ""
    _, after, before = found
    return f"{done}, answers to {_shares(after, before)} were read as refusals."


def place(results: Results) -> str:
    """The outcome without the names of rules, and whether r̂ lies at the boundary of the layers that were allowed."""
    said = re.sub(r" \(removed by: [^)]*\)", "", results.outcome_sentence).rstrip(".")
    direction, selection = results.direction, results.selection
    if direction and selection and selection.last_layer is not None and direction.layer >= selection.last_layer:
        said += f"; that is at the boundary, the last of the layers that may be chosen (0 to {selection.last_layer})"
    return f"{said}."


def _claimed(results: Results, claim_id: str) -> tuple[Claim, Rate, Rate] | None:
    """A claim with the rates of its treatment and of its reference."""
    claim = next((one for one in results.primary if one.id == claim_id), None)
    if claim is None:
        return None
    after, before = (results.find_rate(name, claim.prompts) for name in (claim.treatment, claim.reference))
    return None if after is None or before is None else (claim, after, before)


def _shares(after: Rate, before: Rate) -> str:
    return f"{percent(after.rate)} of {after.prompts} requests ({percent(before.rate)} before)"


def _effect(results: Results, claim_id: str, shown: str, doing: str, done: str, change: str) -> str:
    """What an edit did: that it did it only where the claim's verdict is `shown`."""
    found = _claimed(results, claim_id)
    if found is None:
        return ""
    claim, after, before = found
    if claim.verdict == shown:
        return f"{doing} r̂ made it refuse {_shares(after, before)}."
    return f"With r̂ {done} it refused {_shares(after, before)}; {change} is not shown."


def _random(results: Results) -> str:
    found = _claimed(results, "random_vs_baseline")
    if found is None:
        return ""
    claim, after, before = found
    row = results.claimed(claim)
    shares = _shares(after, before)
    clear = {"better": "more", "worse": "less"}.get(row.verdict)
    if claim.verdict == "equivalent" and clear is None:
        return (
            f"Random directions changed little: {shares}, a difference shown to be under {margin_points(row.margin)}."
        )
    if claim.verdict == "equivalent":
        return (
            f"Random directions made it refuse a little {clear}: {shares}, a difference shown to be under "
            f"{margin_points(row.margin)}."
        )
    if clear:
        induced = next((one.verdict for one in results.primary if one.id == "set_vs_baseline"), "")
        too = " too" if induced == row.verdict else ""
        return f"Random directions made it refuse {clear}{too}: {shares}."
    return f"Whether random directions change this is undecided: {shares}."
