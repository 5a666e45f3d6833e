"""Rows by label → a contrast set: duplicates dropped, ids made distinct, splits drawn or taken as given."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from rhat.errors import PromptError
from rhat.prompts.contrast import SPLITS, ContrastSet, Label, Prompt, Split
from rhat.prompts.duplicates import folded, near_duplicate_groups
from rhat.prompts.faults import one_line
from rhat.prompts.rows import Row
from rhat.prompts.splitting import FEWEST, MINIMUM, split_by_topic

logger = logging.getLogger(__name__)

_SPLIT_LABELS: tuple[Label, ...] = ("harmful", "harmless")
_NAMED = 3  # prompts of two labels that a message names


def assemble(rows: Mapping[Label, Sequence[Row]], name: str, seed: int, names: Mapping[Label, str]) -> ContrastSet:
    """Rows by label → ContrastSet; what `read` does once the sources are read, with `names` for messages."""
    drafts: dict[Label, list[Prompt]] = {}
    kept: dict[Label, list[Row]] = {}
    for label, given in rows.items():
        numbered = _distinct([(f"{label}-{n:04d}", row) for n, row in enumerate(given, start=1)], names[label])
        if len(numbered) < FEWEST:
            raise PromptError(
                f"{names[label]}: got {len(numbered)} different {label} prompts, "
                f"expected at least {FEWEST}; add prompts"
            )
        numbered = with_own_ids(numbered, names[label])
        kept[label] = [row for _, row in numbered]
        ids = [row.id or number for number, row in numbered]
        drafts[label] = [
            Prompt(row.text, label, "test", id, row.category, row.topic)
            for id, row in zip(ids, kept[label], strict=True)
        ]
    _one_label_each(kept)
    drafts = _with_distinct_ids(drafts, kept)
    if _splits_given(kept) and all(_splits_usable(kept[label], names[label]) for label in _SPLIT_LABELS):
        halves = [_with_given_splits(drafts[label], kept[label], names[label]) for label in _SPLIT_LABELS]
    else:
        halves = [split_by_topic(_with_topics(drafts[label]), seed, names[label]) for label in _SPLIT_LABELS]
    tested = [_with_topics(drafts.get(label, [])) for label in ("borderline", "twin")]
    return ContrastSet(name, (*halves[0], *halves[1], *tested[0], *tested[1]), seed)


def check_twins(borderline: object) -> None:
    """Twins say something beside borderline prompts only.

    Raises:
        PromptError: if there are none.
    """
    if not borderline:
        raise PromptError("twins: got them without borderline prompts; give these as well, or leave the twins out")


def _distinct(numbered: list[tuple[str, Row]], source: str) -> list[tuple[str, Row]]:
    first: dict[str, tuple[str, Row]] = {}
    for id, row in numbered:
        first.setdefault(folded(row.text), (id, row))
    if dropped := len(numbered) - len(first):
        logger.warning(
            "%s: dropped %d duplicates (same text up to case and spaces), %d prompts are left",
            source,
            dropped,
            len(first),
        )
    return list(first.values())


def with_own_ids(numbered: Sequence[tuple[str, Row]], source: str) -> list[tuple[str, Row]]:
    """(number, row) pairs as they are, or without the rows' own ids if two would have the same."""
    seen: dict[str, Row] = {}
    repeated: list[tuple[Row, str]] = []
    for number, row in numbered:
        first = seen.setdefault(row.id or number, row)
        if first is not row:
            repeated.append((row, first.where))
    if not repeated:
        return list(numbered)
    row, first_where = repeated[0]
    logger.warning(
        "%s: its ids are not used, because %d of them repeat (the first: %r, %s and %s)",
        source,
        len(repeated),
        row.id,
        first_where,
        row.where,
    )
    return [(number, replace(row, id="")) for number, row in numbered]


def _one_label_each(rows: Mapping[Label, Sequence[Row]]) -> None:
    seen: dict[str, tuple[Label, Row]] = {}
    twice = []
    for label, given in rows.items():
        for row in given:
            other, twin = seen.setdefault(folded(row.text), (label, row))
            if other != label:
                twice.append(f"{one_line(row.text, 60)!r} is both {other} ({twin.where}) and {label} ({row.where})")
    if twice:
        more = f"; and {len(twice) - _NAMED} more" if len(twice) > _NAMED else ""
        raise PromptError(f"{'; '.join(twice[:_NAMED])}{more}; a prompt has one label: remove it from one of them")


def _with_distinct_ids(
    drafts: Mapping[Label, list[Prompt]], rows: Mapping[Label, Sequence[Row]]
) -> dict[Label, list[Prompt]]:
    """Put the label before every id that a source gave, if any id is in two labels."""
    ids = [prompt.id for prompts in drafts.values() for prompt in prompts]
    if len(set(ids)) == len(ids):
        return dict(drafts)
    return {
        label: [
            replace(prompt, id=f"{label}-{prompt.id}") if row.id else prompt
            for prompt, row in zip(prompts, rows[label], strict=True)
        ]
        for label, prompts in drafts.items()
    }


def _with_topics(prompts: list[Prompt]) -> list[Prompt]:
    """Make near-duplicates among prompts without a topic one topic, named "near <smallest id>"."""
    alone = [prompt for prompt in prompts if not prompt.topic]
    leaders = near_duplicate_groups([prompt.text for prompt in alone])
    groups: dict[int, list[str]] = {}
    for prompt, leader in zip(alone, leaders, strict=True):
        groups.setdefault(leader, []).append(prompt.id)
    topic_of = {id: f"near {min(ids)}" for ids in groups.values() if len(ids) > 1 for id in ids}
    return [replace(p, topic=topic_of[p.id]) if p.id in topic_of else p for p in prompts]


def _splits_given(rows: Mapping[Label, Sequence[Row]]) -> bool:
    given = [bool(row.split) for label in _SPLIT_LABELS for row in rows[label]]
    if any(given) and not all(given):
        logger.warning(
            "%d of %d rows name a split, so none of these is used; give every row one, or none",
            sum(given),
            len(given),
        )
    return all(given)


def _splits_usable(rows: Sequence[Row], source: str) -> bool:
    """Whether the splits that rows name can be used; if not, what is wrong with them is said."""
    counts = {split: sum(row.split == split for row in rows) for split in SPLITS}
    odd = [row for row in rows if row.split not in SPLITS]
    few = [split for split, least in MINIMUM.items() if counts[split] < least]
    splits_of: dict[str, set[str]] = {}
    for row in rows:
        splits_of.setdefault(row.topic, set()).add(row.split)
    torn = [topic for topic, splits in splits_of.items() if topic and len(splits) > 1]
    if odd:
        why = f"{len(odd)} rows name another than {', '.join(SPLITS)} (the first: {odd[0].split!r}, {odd[0].where})"
    elif few:
        why = f"{counts[few[0]]} prompts are in {few[0]}, and at least {MINIMUM[few[0]]} are needed"
    elif torn:
        why = f"topic {torn[0]!r} is in {' and in '.join(sorted(splits_of[torn[0]]))}"
    else:
        return True
    logger.warning("%s: its splits are not used, because %s; others are drawn", source, why)
    return False


def _with_given_splits(prompts: list[Prompt], rows: Sequence[Row], source: str) -> tuple[Prompt, ...]:
    placed = [replace(prompt, split=cast(Split, row.split)) for prompt, row in zip(prompts, rows, strict=True)]
    splits_of: dict[str, set[str]] = {}
    for prompt in _with_topics(placed):
        splits_of.setdefault(prompt.topic, set()).add(prompt.split)
    straddling = sum(topic.startswith("near ") and len(splits) > 1 for topic, splits in splits_of.items())
    if straddling:
        logger.warning(
            "%s: %d groups of near-duplicates are in more than one of the splits that the file names",
            source,
            straddling,
        )
    return tuple(placed)
