"""Sentences that several questions tell: a comparison in words, and how many prompts it would have needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rhat.artifacts.record import Judgement
from rhat.artifacts.rows import Comparison
from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import count, difference
from rhat.questions.question import Verdict


class AgainstChance(Protocol):
    """A row whose verdict holds it against chance."""

    @property
    def verdict(self) -> Judgement: ...  # noqa: D102


def describe(results: Results, row: Comparison) -> str:
    """A comparison in a sentence: who, by how much, with its interval, and what that means."""
    word = row.verdict
    margin = wording.margin_points(row.margin)
    verb = {"better": "refuses more than", "worse": "refuses less than"}.get(word)
    names = wording.condition(row.treatment), wording.condition(row.reference)
    numbers = f"{difference(row)}, n = {row.n}"
    if verb:
        small = f", by less than the margin of {margin}" if row.equivalent else ""
        return f"{names[0]} {verb} {wording.inside(names[1])}{small} ({numbers})."
    if word == "equivalent":
        return f"{names[0]} and {wording.inside(names[1])} are equivalent within {margin} ({numbers})."
    wanted = needed(results, row)
    more = f": it would need about {count(wanted, 'prompt')}" if wanted else ""
    return f"{names[0]} against {wording.inside(names[1])} is undecided ({numbers}){more}."


def verdict_on(treatment: str, reference: str, prompts: str) -> Callable[[Results], Verdict | None]:
    """The verdict of a question that one comparison answers: its word, and the comparison in a sentence."""

    def verdict(results: Results) -> Verdict | None:
        row = results.comparison(treatment, reference, prompts)
        return None if row is None else Verdict(row.verdict, describe(results, row))

    return verdict


def needed(results: Results, row: Comparison) -> int | None:
    """The study's number of prompts that show equivalence with 80 % power, where it is more than there were."""
    known = next((found for found in results.power if found.names == row.names), None)
    return known.prompts_needed if known and known.prompts_needed > row.n else None


def flipped(word: str) -> str:
    """A verdict's word where less counts as better."""
    return {"better": "worse", "worse": "better"}.get(word, word)


def chance(row: AgainstChance) -> str:
    """Whether an area or an accuracy is above chance, by its verdict."""
    words = {"better": "above chance", "worse": "below chance", "undecided": "not distinguishable from chance"}
    return words[row.verdict]
