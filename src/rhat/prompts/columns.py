"""Columns by name: where prompts are, what belongs to them, what says which label a row has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rhat.prompts.contrast import Label

COLUMNS = (  # where prompts are looked for, in this order, whatever their case
    *("instruction", "prompt", "text", "messages", "goal", "forbidden_prompt", "question", "query", "request"),
    *("behavior", "statement", "turns", "conversations", "conversation"),
)
DETAILS = ("id", "category", "topic", "split")  # optional columns that are used under these names

JOINS = (  # (request, its object): joined with a blank line between them
    ("instruction", "input"),  # Alpaca
    ("instruction", "context"),  # Dolly
)

BELONGS = (  # what else may be part of the request, under these names; never left out without a word
    *("input", "inputs", "context", "contexts", "contextstring", "passage", "document", "documents", "system"),
    *("system_prompt", "system_message", "history", "image", "images", "audio", "video", "tools", "choices"),
)
GOES_BEFORE = re.compile(r"(?i)system|history")  # of these, what stands before the request
ANSWERS = re.compile(r"(?i)output|response|answer|completion|chosen|rejected|generation")  # columns of answers

LABEL_COLUMNS = ("label", "labels", "prompt_label", "prompt_harm_label", "harm_label", "safety", "safety_label")
LABEL_WORDS: Mapping[str, Label] = {
    **dict.fromkeys(("harmful", "unsafe", "malicious", "toxic", "bad"), "harmful"),
    **dict.fromkeys(("harmless", "safe", "benign", "unharmful", "good"), "harmless"),
    "borderline": "borderline",
    "twin": "twin",
}
FLAG_COLUMNS: Mapping[str, Label] = {  # columns of true and false, and what true means
    **dict.fromkeys(("harmful", "is_harmful", "unsafe", "is_unsafe", "malicious", "is_malicious"), "harmful"),
    **dict.fromkeys(("harmless", "is_harmless", "safe", "is_safe", "benign", "is_benign"), "harmless"),
}
TRANSCRIPT = re.compile(  # marks of a text that holds its answer, or a chat template
    r"(^|\n)\s*(###? *)?(assistant|response|ai|bot) *:|<\|(im_start|assistant|start_header_id)|\[/INST\]", re.IGNORECASE
)
TRUE, FALSE = ("true", "1", "yes", "1.0"), ("false", "0", "no", "0.0")

FEW_VALUES = 40  # a column with more different values than this is no choice among kinds of rows


def is_prompt_column(name: str) -> bool:
    """Whether prompts are looked for under this name."""
    return str(name).strip().casefold() in COLUMNS


def plain(value: Any) -> str:
    """A cell as it is compared: "" for nothing, "true" and "false", whole numbers without a point."""
    if blank(value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def blank(value: Any) -> bool:
    """Whether a cell holds nothing: null, NaN (which is how tables spell "missing"), white space, an empty list."""
    if value is None or (isinstance(value, float) and value != value):
        return True
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, list | dict) and not value


@dataclass
class Profile:
    """What the rows of a source have in their columns; made row by row, in the order of the columns.

    filled  cells that hold something
    texts   of these, strings and lists: what a prompt can be
    odd     of these, lists, objects and bytes: what an id or a category cannot be
    values  how often each value is there, or None if there are more than `FEW_VALUES`
    objects rows with columns in which anything is filled
    """

    filled: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    values: dict[str, Counter[str] | None] = field(default_factory=dict)
    objects: int = 0

    @property
    def columns(self) -> list[str]:
        """The columns' names, in the order in which they appear."""
        return list(self.values)

    def add(self, item: Any) -> None:
        """Take a row into account."""
        if not isinstance(item, dict):
            return
        empty = True
        for name, value in item.items():
            if name not in self.values:
                self.values[name] = Counter()
            if blank(value):
                continue
            empty = False
            self.filled[name] += 1
            self.texts[name] += isinstance(value, str | list)
            if not isinstance(value, str | int | float):
                self.odd[name] += 1
                continue
            seen = self.values[name]
            if seen is not None:
                seen[plain(value)] += 1
                if len(seen) > FEW_VALUES:
                    self.values[name] = None
        self.objects += not empty


def prompt_columns(profile: Profile) -> list[str]:
    """Columns where prompts may be, the best first: those that hold texts, in the order of `COLUMNS`."""
    known = [c for name in COLUMNS for c in profile.columns if str(c).strip().casefold() == name]
    return sorted(known, key=lambda c: (profile.texts[c] == 0, profile.filled[c] == 0))


def label_of(column: str, value: str, columns: Sequence[str]) -> Label | None:
    """The label that a cell gives its row, or None: where answers are in the row too, it may be the label of them."""
    name = str(column).casefold()
    if not name.startswith("prompt") and any(ANSWERS.search(str(c)) for c in columns):
        return None
    if name in LABEL_COLUMNS:
        return LABEL_WORDS.get(value.casefold())
    if name not in FLAG_COLUMNS:
        return None
    means = FLAG_COLUMNS[name]
    if value.casefold() in TRUE:
        return means
    other: Label = "harmless" if means == "harmful" else "harmful"
    return other if value.casefold() in FALSE else None


def label_column(profile: Profile) -> str | None:
    """The column each of whose values says which label its row has, or None."""
    for column, values in profile.values.items():
        if values and all(label_of(column, value, profile.columns) for value in values):
            return column
    return None


def two_valued(profile: Profile) -> list[str]:
    """Columns that sound like labels and have two values, but not ones that are understood."""
    sounds = re.compile(r"(?i)label|harm|safe|toxic|class|malicious|flag")
    return [
        column
        for column, values in profile.values.items()
        if values and len(values) == 2 and sounds.search(str(column)) and column != label_column(profile)
    ]
