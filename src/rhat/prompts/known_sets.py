"""The field's data sets, one row each: how they are recognised, and how their rows are meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rhat.prompts.columns import Profile

if TYPE_CHECKING:
    from rhat.prompts.contrast import Label


@dataclass(frozen=True)
class Rows:
    """Rows whose cell in `column` is one of `values`, or begins with one of `beginnings`, in lower case."""

    column: str
    values: tuple[str, ...] = ()
    beginnings: tuple[str, ...] = ()
    why: str = ""

    def hold(self, value: str) -> bool:
        """Whether a cell makes its row one of them."""
        return value.casefold() in self.values or value.casefold().startswith(self.beginnings or ("\0",))


@dataclass(frozen=True)
class KnownSet:
    """A data set of the field. All names of columns are in lower case.

    has        columns that it has, all of them
    hasnt      columns that it never has
    values     a column and all the values that it may have
    file       for a set of plain text: what its file's name holds, in lower case
    prompt     the columns of the prompt, joined with `joint`; the request itself is in number `main` of them
    first      whether of several turns the first is the prompt
    label      what its prompts are, if all are alike
    named      likewise, where only the file's or data set's name tells: part of it → label
    harmful    its harmful rows, if it has harmless ones too
    only       the rows that are read, if not all; and rows that are not, whatever for
    details    rhat's id, category and topic → columns, of which a topic may have several
    cut        prefixes that a detail's value loses
    note       what else to know of it, in words
    """

    title: str
    has: tuple[str, ...]
    prompt: tuple[str, ...]
    hasnt: tuple[str, ...] = ()
    values: tuple[str, tuple[str, ...]] | None = None
    file: str = ""
    main: int = 0
    joint: str = "\n\n"
    first: bool = False
    label: Label | None = None
    named: tuple[tuple[str, Label], ...] = ()
    harmful: Rows | None = None
    only: Rows | None = None
    left_out: Rows | None = None
    details: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cut: tuple[str, ...] = ()
    note: str = ""

    def is_that_of(self, profile: Profile, name: str) -> bool:
        """Whether a source of that name with these columns and values is this set."""
        if self.file:
            return not profile.objects and self.file in re.sub(r"[\W_]", "", _last_part(name))
        columns = {str(column).casefold(): column for column in profile.columns}
        if not set(self.has) <= set(columns) or set(self.hasnt) & set(columns):
            return False
        if self.values is None:
            return True
        column, some = self.values
        seen = profile.values.get(columns.get(column, ""))
        return bool(seen) and all(value.casefold() in some for value in seen or ())

    @property
    def shown_label(self) -> str:
        """What its prompts are, in the words of the documentation."""
        if self.label is not None:
            return self.label
        if self.harmful is not None:
            return "both, by row"
        return ", ".join(f"{label} ({part})" for part, label in self.named)

    def label_by(self, name: str) -> Label | None:
        """What the prompts of a source of that name are, if all are alike."""
        if self.label is not None:
            return self.label
        return next((label for part, label in self.named if part in _last_part(name)), None)


def _last_part(name: str) -> str:
    """A file's name without its folders, or a data set's id, in lower case."""
    return (Path(name).name if Path(name).exists() else name).casefold()


_XSTEST_SAFE = (
    "homonyms",
    "figurative_language",
    "safe_targets",
    "safe_contexts",
    "definitions",
    "historical_events",
    "nons_group_real_discr",
    "real_group_nons_discr",
    "privacy_public",
    "privacy_fictional",
)
XSTEST = (*_XSTEST_SAFE, *(f"contrast_{kind}" for kind in (*_XSTEST_SAFE, "discr", "privacy")))  # values of type
OR_BENCH = ("deception", "harassment", "harmful", "hate", "illegal", "privacy", "self-harm", "sexual", "unethical", "violence")  # fmt: skip

KNOWN_SETS = (
    KnownSet(
        "XSTest",
        has=("prompt", "type", "focus"),
        prompt=("prompt",),
        values=("type", XSTEST),
        harmful=Rows("type", beginnings=("contrast_",)),
        details={"id": ("id",), "category": ("type",), "topic": ("type", "focus")},
        cut=("contrast_",),
        note="the unsafe rows are the twins of the safe ones: harmful (or, with `--twins`, twins), and never borderline; a pair shares its topic",
    ),
    KnownSet(
        "HarmBench",
        has=("behavior", "functionalcategory", "contextstring"),
        prompt=("contextstring", "behavior"),
        main=1,
        joint="\n\n---\n\n",
        label="harmful",
        left_out=Rows("functionalcategory", ("copyright",), why="copyright"),
        details={"id": ("behaviorid",), "category": ("semanticcategory",)},
        note="contextual rows come after their context; copyright rows are left out",
    ),
    KnownSet(
        "JailbreakBench",
        has=("goal", "target", "behavior", "category"),
        prompt=("goal",),
        named=(("benign", "harmless"), ("harmful", "harmful")),
        details={"id": ("index",), "category": ("category",), "topic": ("behavior",)},
        note="the harmful and the benign file have the same topics, a pair in each",
    ),
    KnownSet(
        "AdvBench",
        has=("goal", "target"),
        hasnt=("behavior",),
        prompt=("goal",),
        label="harmful",
        note="the `target` is the answer, and is not read",
    ),
    KnownSet(
        "SORRY-Bench",
        has=("question_id", "category", "turns", "prompt_style"),
        prompt=("turns",),
        first=True,
        label="harmful",
        only=Rows("prompt_style", ("base",), why="not of the base style"),
        details={"id": ("question_id",), "category": ("category",)},
        note="the base style only; the other styles rewrite it",
    ),
    KnownSet(
        "MT-Bench",
        has=("question_id", "category", "turns"),
        hasnt=("prompt_style",),
        prompt=("turns",),
        first=True,
        label="harmless",
        details={"id": ("question_id",), "category": ("category",)},
        note="the first turn; the second is counted and left out",
    ),
    KnownSet(
        "do-not-answer",
        has=("question", "risk_area", "types_of_harm"),
        prompt=("question",),
        label="harmful",
        details={"id": ("id",), "category": ("risk_area",)},
        note="the models' answers beside the questions are not read",
    ),
    KnownSet(
        "StrongREJECT",
        has=("forbidden_prompt", "category"),
        prompt=("forbidden_prompt",),
        label="harmful",
        details={"category": ("category",)},
        note="as it is",
    ),
    KnownSet(
        "OR-Bench",
        has=("prompt", "category"),
        hasnt=("label", "type", "response", "text", "instruction"),
        values=("category", OR_BENCH),
        prompt=("prompt",),
        named=(("toxic", "harmful"), ("hard", "borderline"), ("80k", "borderline")),
        details={"category": ("category",)},
        note="80k and hard-1k are borderline, toxic is harmful: only the file's name tells them apart",
    ),
    KnownSet(
        "Alpaca",
        has=("instruction", "input", "output"),
        prompt=("instruction", "input"),
        label="harmless",
        note="rows with an input are joined with it",
    ),
    KnownSet(
        "Dolly",
        has=("instruction", "context", "response"),
        prompt=("instruction", "context"),
        label="harmless",
        details={"category": ("category",)},
        note="rows with a context are joined with it",
    ),
    KnownSet(
        "MaliciousInstruct",
        has=(),
        file="maliciousinstruct",
        prompt=(),
        label="harmful",
        note="a prompt a line; known by its file's name",
    ),
)


def known_set(profile: Profile, name: str) -> KnownSet | None:
    """The set that a source is, by its columns, values and name, or None."""
    return next((known for known in KNOWN_SETS if known.is_that_of(profile, name)), None)
