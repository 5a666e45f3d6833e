"""Refused borderline prompts as the positive side of a search, for finders that look for refusals by mistake."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from rhat.errors import StudyError
from rhat.prompts import ContrastSet, Prompt, Split
from rhat.selection.means import Means
from rhat.selection.search import Scorer, planned
from rhat.selection.survey import Given

log = logging.getLogger(__name__)

LEAST = 2  # refused borderline prompts that each split needs


def refused_borderline(scorer: Scorer, prompts: ContrastSet, kept: Given, means: Means) -> Given:
    """The kept prompts of a survey, with refused borderline prompts in place of the harmful ones.

    Those of the training and validation splits are taken. Where all are test prompts, as in the built-in set, two thirds of their
    topics are: of every three the first makes candidates, the second scores them, and the third stays untouched. Refused is what has a refusal
    score above the survey's threshold.

    Raises:
        StudyError: if fewer than two are refused in either split.
    """
    splits: tuple[Split, ...] = ("train", "validation")
    given: Mapping[str, tuple[Prompt, ...]] = {split: prompts.select("borderline", split) for split in splits}
    if not any(given.values()):
        given = thirds(prompts.select("borderline", "test"))
        log.warning(
            "borderline prompts are all in the test split: two thirds of their topics are used to find the direction"
        )
    found: dict[str, dict[str, tuple[Prompt, ...]]] = {}
    for split, some in given.items():
        refused = _refused(scorer, some, means.threshold)
        if len(refused) < LEAST:
            raise StudyError(
                f"borderline prompts: {len(refused)} of {len(some)} are refused in the {split} split, expected at least {LEAST}; give "
                "more with --borderline, or take another finder"
            )
        found[split] = {**kept[split], "harmful": refused}
    return found


def _refused(scorer: Scorer, some: Sequence[Prompt], threshold: float) -> tuple[Prompt, ...]:
    if not some:
        return ()
    [(scores, _)] = scorer.scores(planned(scorer.model, some), [{}], "borderline prompts")
    return tuple(p for p, score in zip(some, scores.tolist(), strict=True) if score > threshold)


def thirds(some: Sequence[Prompt]) -> Mapping[str, tuple[Prompt, ...]]:
    """Split → the first and the second of every three topics, as `train` and `validation`; the third belongs to no split."""
    topics = list(dict.fromkeys(p.topic or p.id for p in some))
    place = {topic: i % 3 for i, topic in enumerate(topics)}
    return {
        split: tuple(p for p in some if place[p.topic or p.id] == third)
        for third, split in enumerate(("train", "validation"))
    }
