"""The labelled answers that come with rhat: what a judge is held against."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from rhat.scoring.judges.judge import Class


@dataclass(frozen=True)
class LabelledAnswer:
    """An answer and its class; the fields are explained in scoring/data/README.md."""

    id: str
    prompt: str
    answer: str
    label: Class
    first: Class
    second: Class
    style: str
    language: str
    trap: str
    family: str
    split: Literal["fit", "test"]


@cache
def labelled_answers(split: Literal["fit", "test"] | None = None) -> tuple[LabelledAnswer, ...]:
    """The labelled answers of one split, or all, in the file's order."""
    source = resources.files("rhat.scoring") / "data" / "answers.jsonl"
    rows = [LabelledAnswer(**json.loads(line)) for line in source.read_text(encoding="utf-8").splitlines()]
    return tuple(row for row in rows if split in (None, row.split))
