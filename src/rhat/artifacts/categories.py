"""Rates by category: refusals of the primary claims' conditions within each category that the prompts name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np

from rhat.artifacts.claims import PRIMARY
from rhat.artifacts.measured import Answered, rate_part
from rhat.artifacts.record import Count, Label, Natural, Record, Share

CONDITIONS = tuple(dict.fromkeys(name for rule in PRIMARY for name in (rule.reference, rule.treatment)))


class CategoryRate(Record):
    """Refusal rates by generation within one category of test prompts, under the conditions of the primary claims. Exploratory."""

    condition: str
    """id of the condition, a key of `conditions`"""
    prompts: Label
    """which prompts"""
    category: str
    """the category that the prompts name"""
    n: Count
    """prompts (or pairs of answers) measured"""
    refused: Natural
    """judged refused"""
    rate: Share
    """refused / n"""
    ci_low: Share
    """95 % interval of `rate` (Wilson, with topics as clusters), lower end"""
    ci_high: Share
    """upper end"""


class Named(Answered, Protocol):
    """Answers whose prompts have ids."""

    @property
    def prompt_ids(self) -> tuple[str, ...]: ...  # noqa: D102


def category_rates(answered: Iterable[Named], categories: Mapping[str, str | None]) -> list[CategoryRate]:
    """A row for each condition, kind of prompts and category; `categories` are those of the prompts, by id.

    Prompts without a category are left out, and so are kinds of prompts that name fewer than two.
    """
    rows = []
    for m in answered:
        named = [categories.get(i) for i in m.prompt_ids]
        if m.condition not in CONDITIONS or not m.verdicts or len({*named} - {None}) < 2:
            continue
        for category in sorted({name for name in named if name}):
            at = [i for i, name in enumerate(named) if name == category]
            refused = m.refused[np.array(at)]
            part = rate_part(refused, [m.topics[i] for i in at] if m.topics else ())
            names = {"condition": m.condition, "prompts": m.label, "category": category}
            rows.append(CategoryRate.of(names | part | {"refused": int(refused.sum())}))
    return rows
