"""Beside: a condition's refusals of borderline prompts, those of their unsafe twins, and what both together say."""

from __future__ import annotations

from dataclasses import dataclass

from rhat.artifacts.rows import Comparison, Rate
from rhat.artifacts.run import Results
from rhat.display.wording import margin_points
from rhat.reprs import one_line

WORDS = {
    "less": "better",
    "more": "worse",
    "whole": "mixed",
    "open": "undecided",
    "alone": "undecided",
    "equivalent": "equivalent",
    "undecided": "undecided",
    "": "measured",
}
"""Readings as a verdict's word."""

TOLD = {
    "less": "less over-refusal",
    "more": "more refusals",
    "whole": "refusal fell as a whole",
    "open": "fewer refusals, perhaps as a whole",
    "alone": "fewer refusals, twins not measured",
    "equivalent": "equivalent",
    "undecided": "undecided",
}
"""Readings in a few words."""


@dataclass(frozen=True)
class Beside:
    """One condition: rates on borderline prompts and on twins, and how each differs from the baseline's.

    The baseline has no differences; where twins were not measured theirs are None.
    """

    condition: str
    borderline: Rate
    twin: Rate | None
    change: Comparison | None
    twin_change: Comparison | None

    __repr__ = one_line

    @property
    def reading(self) -> str:
        """A key of TOLD; "" for the baseline.

        less     borderline prompts are refused less, and twins are shown not to be refused less by the margin or more
        whole    both are refused less
        open     borderline prompts are refused less, and of the twins neither is shown; alone: no twins were measured
        """
        row, twin = self.change, self.twin_change
        if row is None:
            return ""
        if row.verdict != "worse":
            return "more" if row.verdict == "better" else row.verdict
        if twin is None:
            return "alone"
        if twin.noninferior:
            return "less"
        return "whole" if twin.verdict == "worse" else "open"

    @property
    def told(self) -> str:
        """What that means, as the end of a sentence."""
        margin = "" if self.change is None else margin_points(self.change.margin)
        return {
            "less": f"less over-refusal, for refusal of the twins is shown to fall by less than {margin}",
            "more": "more refusals of borderline prompts",
            "whole": "refusal fell as a whole, which is not less over-refusal",
            "open": "fewer refusals of borderline prompts, and whether refusal fell as a whole is undecided",
            "alone": "fewer refusals of borderline prompts, and without unsafe twins it is not known whether refusal fell as a whole",
            "equivalent": f"refusal of borderline prompts is shown to change by less than {margin}",
            "undecided": "whether borderline prompts are refused less is undecided",
        }.get(self.reading, "")


def side_by_side(results: Results) -> list[Beside]:
    """Every condition measured on borderline prompts, in the order of measuring."""
    return [
        Beside(
            row.condition,
            row,
            results.find_rate(row.condition, "twin"),
            *(_change(results, row.condition, prompts) for prompts in ("borderline", "twin")),
        )
        for row in results.rates
        if row.prompts == "borderline"
    ]


def _change(results: Results, condition: str, prompts: str) -> Comparison | None:
    return None if condition == "baseline" else results.comparison(condition, "baseline", prompts)
