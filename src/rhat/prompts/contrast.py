"""Prompt and ContrastSet: what a study measures on, as frozen values."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from rhat.errors import PromptError
from rhat.reprs import one_line

Label = Literal["harmful", "harmless", "borderline", "twin"]
"""What a prompt asks for; a twin is worded as a borderline prompt is, and truly unsafe."""

Split = Literal["train", "validation", "calibration", "test"]
"""What a prompt is used for; each topic stays in one split."""

LABELS: tuple[Label, ...] = get_args(Label)
"""All labels, in the order of tables."""

UNSAFE: tuple[Label, ...] = ("harmful", "twin")
"""Labels of prompts whose answers no file of a study holds."""

SPLITS: tuple[Split, ...] = get_args(Split)
"""All splits, in the order of use."""


@dataclass(frozen=True)
class Prompt:
    """One user message and what is known about it.

    `id` is unique in its set and stable from run to run. Prompts of one label and one `topic` are always in
    the same split; an empty topic means a topic of its own. `category` is what splits and subsets are
    balanced over.
    """

    text: str
    label: Label
    split: Split
    id: str
    category: str = ""
    topic: str = ""

    __repr__ = one_line


@dataclass(frozen=True, repr=False)
class ContrastSet:
    """Harmful and harmless prompts, and perhaps borderline ones and their unsafe twins, each in one split.

    A twin has the topic of its borderline prompt.

    `seed` is the one that the splits were drawn with; it also fixes the order of `select`.

    Raises:
        PromptError: if two prompts share an id, a prompt has an unknown label or split, or the prompts of one
            label and topic are in two splits.
    """

    name: str
    prompts: tuple[Prompt, ...]
    seed: int

    def __post_init__(self) -> None:
        ids: set[str] = set()
        split_of: dict[tuple[Label, str], Prompt] = {}
        for prompt in self.prompts:
            _known("label", prompt.label, LABELS)
            _known("split", prompt.split, SPLITS)
            if prompt.id in ids:
                raise PromptError(f"{self.name}: two prompts have the id {prompt.id!r}; make ids unique")
            ids.add(prompt.id)
            if not prompt.topic:
                continue
            first = split_of.setdefault((prompt.label, prompt.topic), prompt)
            if first.split != prompt.split:
                raise PromptError(
                    f"{self.name}: topic {prompt.topic!r} is in {first.split} ({first.id}) and in "
                    f"{prompt.split} ({prompt.id}); put a topic into one split, or leave out the topics "
                    "or the splits"
                )

    def select(self, label: Label, split: Split | None = None, limit: int | None = None) -> tuple[Prompt, ...]:
        """Prompts of a label (and split, if given) in one fixed order; the first `limit` of them, if given.

        The order is seeded and balanced over categories: one prompt of each topic first, then the second
        ones, and so on. So smaller limits give subsets of larger ones. A limit beyond what there is gives all
        of them.

        Raises:
            PromptError: for an unknown label or split, or a negative limit.
        """
        _known("label", label, LABELS)
        if split is not None:
            _known("split", split, SPLITS)
        if limit is not None and limit < 0:
            raise PromptError(f"select needs a limit of 0 or more, got {limit}; leave it out to take all")
        pool = [p for p in self.prompts if p.label == label and split in (None, p.split)]
        topics = spread_topics(pool, self.seed)
        depth = max(map(len, topics), default=0)
        ordered = [topic[turn] for turn in range(depth) for topic in topics if turn < len(topic)]
        return tuple(ordered[:limit])

    def __repr__(self) -> str:
        """Name and numbers, never a prompt."""
        numbers = ", ".join(f"{n} {label}" for label, row in self.counts().items() if (n := sum(row.values())))
        return f"ContrastSet({self.name!r}, {numbers or 'no prompts'}, seed {self.seed})"

    def counts(self) -> dict[str, dict[str, int]]:
        """Number of prompts, as label → split → n; every label and split is there, with 0 if empty."""
        table: dict[str, dict[str, int]] = {label: dict.fromkeys(SPLITS, 0) for label in LABELS}
        for prompt in self.prompts:
            table[prompt.label][prompt.split] += 1
        return table

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the sha256 over id, label, split and text of every prompt.

        The same whatever order the prompts are in; name, seed, category and topic do not enter.
        """
        rows = sorted([p.id, p.label, p.split, p.text] for p in self.prompts)
        return hashlib.sha256(json.dumps(rows).encode("ascii")).hexdigest()[:16]


def spread_topics(prompts: Iterable[Prompt], seed: int) -> list[tuple[Prompt, ...]]:
    """Group one label's prompts by topic, topics in a seeded order that is balanced over categories.

    Any stretch of the order holds each category in about its share (systematic sampling with a random start
    in each category). A topic's category is that of its first prompt. The order hangs on ids, topics and
    categories alone, not on the order of `prompts`: it comes from hashes, so it is the same in every Python.
    """
    by_topic: dict[tuple[str, str], list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        by_topic[("topic", prompt.topic) if prompt.topic else ("id", prompt.id)].append(prompt)
    by_category: dict[str, list[tuple[int, tuple[Prompt, ...]]]] = defaultdict(list)
    for key, members in by_topic.items():
        members.sort(key=lambda p: (_draw(seed, "prompt", p.id), p.id))
        by_category[members[0].category].append((_draw(seed, *key), tuple(members)))
    placed: list[tuple[float, str, tuple[Prompt, ...]]] = []
    for category, topics in by_category.items():
        topics.sort(key=lambda drawn: (drawn[0], drawn[1][0].id))
        start = _draw(seed, "category", category) / 2**64
        placed += [((i + start) / len(topics), category, topic) for i, (_, topic) in enumerate(topics)]
    placed.sort(key=lambda place: (place[0], place[1]))
    return [topic for _, _, topic in placed]


def _draw(seed: int, *what: str) -> int:
    """A number from 0 to 2⁶⁴ − 1 that looks random and hangs on nothing but the arguments."""
    digest = hashlib.sha256(json.dumps([seed, *what]).encode("ascii")).digest()
    return int.from_bytes(digest[:8], "big")


def _known(kind: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise PromptError(f"unknown {kind} {value!r}; expected one of {', '.join(known)}")
