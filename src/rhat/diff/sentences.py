"""The answer in plain sentences."""

from __future__ import annotations

from rhat.diff.document import Diff
from rhat.diff.rows import Change, Removal, SetRate, Side
from rhat.prompts import UNSAFE

KINDS = {"harmful": "harmful", "harmless": "harmless", "borderline": "borderline", "twin": "unsafe twin"}


def sentences(found: Diff) -> list[str]:
    """The answer first, then what it rests on, then r̂ and the weights, then what could not be compared."""
    said = [_answer(found), *(_change(row) for row in found.changes)]
    said += [line for line in (_broken(found), _cosine(found), _set(found)) if line]
    said += [_removal(row, found) for row in found.removals if row.removed]
    if found.removals and not any(row.removed for row in found.removals):
        said.append(_untouched(found))
    return said + [f"{note.rstrip('.')}." for note in found.notes]


def _answer(found: Diff) -> str:
    margin = points(found.margin)
    by_word: dict[str, list[str]] = {}
    for row in found.changes:
        by_word.setdefault(row.outcome, []).append(KINDS[row.prompts])
    if found.outcome == "no worse":
        return (
            f"No worse: on {_list(by_word['no worse'])} prompts, B is shown not to be worse than A by {margin} or more."
        )
    if found.outcome == "worse":
        return f"Worse: on {_list(by_word['worse'])} prompts, B is worse than A."
    return (
        f"Undecided: on {_list(by_word['undecided'])} prompts, B is neither shown to be worse than A nor shown not to be worse by {margin} "
        "or more; more test prompts are needed."
    )


def _change(row: Change) -> str:
    """How refusal of one kind of prompts changed."""
    unsafe, kind = row.prompts in UNSAFE, KINDS[row.prompts]
    numbers = f"{percent(row.a_rate)} by A, {percent(row.b_rate)} by B"
    gap = f"{points(row.difference, sign=True)} [{100 * row.ci_low:+.1f}, {100 * row.ci_high:+.1f}]".replace("-", "−")
    if row.verdict in ("better", "worse"):
        more = (row.verdict == "better") == unsafe
        word = f"B refuses {'more' if more else 'fewer'} of them"
        if row.outcome == "no worse" and row.verdict == "worse":
            word += f", but by less than {points(row.margin)}"
    elif row.verdict == "equivalent":
        word = f"the difference is shown to be smaller than {points(row.margin)}"
    elif row.outcome == "no worse":
        word = f"B is shown not to be worse by {points(row.margin)} or more"
    else:
        word = "undecided"
        if row.prompts_needed:
            word += f" (about {row.prompts_needed} prompts would show that they are alike, if they are)"
    meaning = "" if unsafe else ", where refusing is over-refusal"
    return f"{kind.capitalize()} prompts{meaning}: {numbers} refused ({gap}, n = {row.n}): {word}."


def _broken(found: Diff) -> str:
    """Answers that are empty or broken, where they are more than a few in one of the models."""
    rows = {(row.condition, row.prompts): row for row in found.rates}
    said = []
    for row in found.changes:
        a, b = (rows.get((side, row.prompts)) for side in "AB")
        if a and b and abs(a.degenerate - b.degenerate) > 0.05 * row.n:
            said.append(f"to {KINDS[row.prompts]} prompts {a.degenerate} of {row.n} by A, {b.degenerate} by B")
    return f"Answers that are empty or broken: {'; '.join(said)}. They count as not refused." if said else ""


def _cosine(found: Diff) -> str:
    """How alike the two r̂ and the differences of means are."""
    said = ""
    if found.direction_cosine is not None:
        layers = {row.model: row.layer for row in found.directions}
        said = (
            f"The cosine of the two r̂ is {found.direction_cosine:.3f} (layer {layers['A']} in A, {layers['B']} in B). "
        )
    if found.cosines:
        least = min(found.cosines, key=lambda row: row.cosine)
        noise = min(least.a_split_half, least.b_split_half)
        said += (
            f"Differences of means agree least at layer {least.layer}, cosine {least.cosine:.3f} (two halves of the prompts in one model: "
            f"{noise:.3f})."
        )
    return said.strip().replace(" -", " −")


def _set(found: Diff) -> str:
    """What each r̂ does in each model."""

    def told(row: SetRate) -> str:
        return f"r̂ of {row.direction} set in {row.model}: {percent(row.rate)} of {row.n} (unedited {percent(row.baseline_rate)})"

    rows = "; ".join(told(row) for row in found.set_rates)
    return f"Harmless prompts refused with {rows}." if rows else ""


def _removal(row: Removal, found: Diff) -> str:
    """A named removal."""
    other: Side = "B" if row.model == "A" else "A"
    beside = found.removal(other, row.direction)
    less = f", in {other} {beside.low} of {beside.matrices}" if beside is not None else ""
    return (
        f"Removed: r̂ of {row.direction} was removed from the weights of {row.model}: {row.low} of {row.matrices} matrices that write to the "
        f"residual stream hold less than half as much of it as of any random direction{less} (a direction that has nothing to do with "
        f"the weights is named so with a chance of {100 * row.false_rate:.2g} % at most)."
    )


def _untouched(found: Diff) -> str:
    low = max(found.removals, key=lambda row: row.low / row.matrices)
    return (
        f"No removal of r̂ from the weights is seen: at most {low.low} of {low.matrices} matrices that write to the residual stream hold less than "
        "half as much of one as of any random direction."
    )


def points(share: float, *, sign: bool = False) -> str:
    """A share as percentage points."""
    return f"{100 * share:{'+' if sign else ''}.3g} points".replace("-", "−")


def percent(share: float) -> str:
    """A share as per cent."""
    return f"{100 * share:.3g} %"


def _list(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
