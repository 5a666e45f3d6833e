"""A contrast set from the user's own prompts, one source per label."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from rhat.errors import PromptError
from rhat.prompts.contrast import SPLITS, ContrastSet, Label, Prompt, Split
from rhat.prompts.duplicates import folded, near_duplicate_groups
from rhat.prompts.rows import Row, is_hub_id, one_line, read_rows
from rhat.prompts.splitting import FEWEST, MINIMUM, split_by_topic

logger = logging.getLogger(__name__)


def read(
    harmful: str | Path,
    harmless: str | Path,
    borderline: str | Path | None = None,
    seed: int = 0,
    *,
    column: str | None = None,
    revision: str | None = None,
    offline: bool = False,
) -> ContrastSet:
    """Read one source per label and split each label's prompts by topic.

    A source is a file (.jsonl, .json, .csv, .parquet, or .txt with a prompt a line) or a Hugging Face data
    set id ("owner/name", "owner/name:split", "owner/name/config:split"). Prompts are in `column`, or else in
    the first of instruction, prompt, text and messages (the first user message). Rows may also have an id,
    category, topic and split. Rows without a topic that are near-duplicates (see `near_duplicate_groups`) are
    made one topic.

    Splits are drawn by `split_by_topic`, unless every harmful and harmless row names its own. Borderline
    prompts are all for testing. Exact duplicates, up to case and white space, are dropped with a warning. Ids
    that two labels share get their label in front.

    Raises:
        PromptError: if a source cannot be read, a prompt has two labels, a label has fewer than 8 different
            prompts, ids repeat, or the splits cannot be made.
    """
    sources: dict[Label, str | Path] = {"harmful": harmful, "harmless": harmless}
    if borderline is not None:
        sources["borderline"] = borderline
    if revision is not None and not any(is_hub_id(source) for source in sources.values()):
        raise PromptError(f"revision {revision!r} was given, but every source is a file; leave the revision out")
    rows = {label: read_rows(source, column, revision, offline) for label, source in sources.items()}
    names = {label: str(source) for label, source in sources.items()}
    return assemble(rows, " / ".join(names.values()), seed, names)


def read_texts(
    source: str | Path, column: str | None = None, *, revision: str | None = None, offline: bool = False
) -> tuple[tuple[str, str], ...]:
    """(id, text) of each prompt of one source, in its order, duplicates and all.

    A source is as in `read`, or "-": standard input, JSONL if its first line is a JSON object and else a
    prompt a line. Ids are the source's own, or "prompt-0001" and so on.

    Raises:
        PromptError: if the source cannot be read, holds no prompts, or ids repeat.
    """
    rows = read_rows(source, column, revision, offline)
    ids = [row.id or f"prompt-{number:04d}" for number, row in enumerate(rows, start=1)]
    _unique(ids, rows)
    return tuple((id, row.text) for id, row in zip(ids, rows, strict=True))


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
        kept[label] = [row for _, row in numbered]
        ids = [row.id or number for number, row in numbered]
        _unique(ids, kept[label])
        drafts[label] = [
            Prompt(row.text, label, "test", id, row.category, row.topic)
            for id, row in zip(ids, kept[label], strict=True)
        ]
    _one_label_each(kept)
    drafts = _with_distinct_ids(drafts, kept)
    if _splits_given(kept):
        halves = [_with_given_splits(drafts[label], kept[label], names[label]) for label in _SPLIT_LABELS]
    else:
        halves = [split_by_topic(_with_topics(drafts[label]), seed, names[label]) for label in _SPLIT_LABELS]
    borderline = _with_topics(drafts.get("borderline", []))
    return ContrastSet(name, (*halves[0], *halves[1], *borderline), seed)


_SPLIT_LABELS: tuple[Label, ...] = ("harmful", "harmless")


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


def _unique(ids: Sequence[str], rows: Sequence[Row]) -> None:
    seen: dict[str, Row] = {}
    for id, row in zip(ids, rows, strict=True):
        if id in seen:
            raise PromptError(f"{row.where}: the id {id!r} is also that of {seen[id].where}; make ids unique")
        seen[id] = row


def _one_label_each(rows: Mapping[Label, Sequence[Row]]) -> None:
    seen: dict[str, tuple[Label, Row]] = {}
    for label, given in rows.items():
        for row in given:
            other, twin = seen.setdefault(folded(row.text), (label, row))
            if other != label:
                raise PromptError(
                    f"{one_line(row.text, 60)!r} is both {other} ({twin.where}) and {label} ({row.where}); "
                    "a prompt has one label: remove it from one of them"
                )


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


def _with_given_splits(prompts: list[Prompt], rows: Sequence[Row], source: str) -> tuple[Prompt, ...]:
    for row in rows:
        if row.split not in SPLITS:
            raise PromptError(
                f"{row.where}: unknown split {row.split!r}; expected one of {', '.join(SPLITS)}, or no split column"
            )
    for split, minimum in MINIMUM.items():
        n = sum(row.split == split for row in rows)
        if n < minimum:
            raise PromptError(
                f"{source}: {n} prompts in split {split}, expected at least {minimum}; "
                "add some, or leave the split column out"
            )
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
