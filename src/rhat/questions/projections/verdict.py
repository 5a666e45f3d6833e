"""Verdict: What do projections look like?"""

from __future__ import annotations

from statistics import median

from rhat.artifacts.rows import Separation
from rhat.artifacts.run import Results
from rhat.display.wording import count, interval, number
from rhat.questions.projections.rows import LayerAuroc, Rows, Transfer
from rhat.questions.question import Verdict
from rhat.questions.sentences import chance

INSIDE = "refused vs complied, harmful"  # the headline: inside one kind of prompt, topic is no help


def verdict(results: Results) -> Verdict | None:
    """What do projections look like?"""
    layer = results.direction.layer if results.direction else None
    at = results.at_layer("auroc", results.part(Rows).auroc)
    if not at:
        return None
    row = at[0]
    means = {p.label: p for p in results.part(Rows).projections if p.layer == layer and p.split == "test"}
    text = f"At layer {layer} the projection tells harmful from harmless prompts with AUROC {_auroc(row)}"
    if {"harmful", "harmless"} <= means.keys():
        sides = [f"{name} {number(p.mean)} ± {number(p.sd)}" for name, p in sorted(means.items())]
        text += f" (mean ± sd: {', '.join(sides)})"
    inner = next((one for one in results.auroc_within if one.comparison == INSIDE), None)
    others = [
        f"{one.comparison.capitalize()}: AUROC {_auroc(one)}, {chance(one)}."
        for one in results.auroc_within
        if one is not inner
    ]
    if inner is None:
        return Verdict(row.verdict, f"{text}.", (*others, *_transfer(results)))
    sentence = f"Among harmful prompts alone the projection tells the refused from the complied ones with AUROC {_auroc(inner)}, {chance(inner)}"
    return Verdict(inner.verdict, f"{sentence}.", (*_words(results), *_transfer(results), f"{text}.", *others))


def _words(results: Results) -> list[str]:
    """What the words of the prompt alone tell of its refusal, and whether the projection tells more."""
    told = []
    for row in results.part(Rows).words:
        more = {"better": "the projection tells more", "worse": "the projection tells less"}
        found = more.get(row.verdict, "the projection is not shown to tell more")
        apart = f"{number(row.difference, 3)} {interval(row.difference_ci_low, row.difference_ci_high, digits=3)}"
        told.append(
            f"The words alone, by a logistic regression fitted on the same training prompts, reach {number(row.auroc, 3)} "
            f"{interval(row.ci_low, row.ci_high, digits=3)}: {found} (difference {apart})."
        )
    return told


def _transfer(results: Results) -> list[str]:
    """How well r̂ does on categories that it was found without."""
    own = sorted((row for row in results.part(Rows).transfer if row.left_out == row.tested), key=lambda row: row.auroc)
    if not own:
        return []
    lowest = own[0]
    text = (
        f"Found without a category and tested on it against harmless prompts, r̂ has a median AUROC of {number(median(row.auroc for row in own), 3)} over "
        f"{count(len(own), 'category').replace('categorys', 'categories')}; the lowest is {lowest.left_out.replace('_', ' ')} with {_auroc(lowest)}"
    )
    by_words = [row.words_auroc for row in own if row.words_auroc is not None]
    return [text + (f"; words alone have a median of {number(median(by_words), 3)}." if by_words else ".")]


def _auroc(row: LayerAuroc | Separation | Transfer) -> str:
    return f"{number(row.auroc, 3)} {interval(row.ci_low, row.ci_high, digits=3)}"
