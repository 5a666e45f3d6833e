"""Completions: prompts with their answers, and perhaps labels, from whatever file they were kept in."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rhat.errors import JudgeError, PromptError
from rhat.prompts.delimited import parse_delimited
from rhat.prompts.faults import Broken, one_line
from rhat.prompts.shapes import parse_jsonl
from rhat.scoring.judges.judge import CLASSES, Class

SUFFIXES = (".jsonl", ".json", ".csv", ".eval")
# Where each part is looked for, in this order; `response` and `completion` as refusal_direction and Inspect have them.
PROMPTS = ("prompt", "instruction", "question", "input", "goal", "behavior", "text")
ANSWERS = ("answer", "response", "completion", "output", "generation", "model_response", "text_answer")
LABELS = ("label", "class", "verdict", "final_label", "annotation")
NAMES: dict[str, Class] = {
    **{name: name for name in CLASSES},
    "refusal": "refused",
    "full refusal": "refused",
    "2 full refusal": "refused",
    "partial refusal": "partial",
    "3 partial refusal": "partial",
    "compliance": "complied",
    "compliant": "complied",
    "full compliance": "complied",
    "1 full compliance": "complied",
    "broken": "degenerate",
}


@dataclass(frozen=True)
class Completion:
    """A prompt, its answer, and its label if it has one; `id`, `language` and `style` are "" where the file has none."""

    prompt: str
    answer: str
    id: str = ""
    label: Class | None = None
    language: str = ""
    style: str = ""


def read_completions(source: str | Path, *, labelled: bool = False) -> tuple[Completion, ...]:
    """The completions of a file, in its order.

    JSONL, CSV, or JSON: a list of objects, as refusal_direction keeps them, or an Inspect log (.json or .eval), each
    sample's first user message being the prompt and its output's completion the answer. With `labelled`, every row must
    have a label and need not have an answer.

    Raises:
        JudgeError: if the file cannot be read, has no rows, or a row lacks a part.
    """
    path, name = Path(source), str(source)
    if path.suffix.lower() not in SUFFIXES:
        raise JudgeError(f"{name}: unknown extension {path.suffix or '(none)'}; expected one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise JudgeError(f"{name}: no such file; give a file of completions ({', '.join(SUFFIXES)})")
    try:
        items = _items(path, name)
    except (PromptError, OSError, ValueError, zipfile.BadZipFile, RecursionError) as error:
        said = str(error) if isinstance(error, PromptError) else f"{name}: cannot be read ({one_line(error)})"
        raise JudgeError(said) from error
    if not items:
        raise JudgeError(f"{name}: no completions in it; expected one a row")
    return tuple(_completion(where, item, labelled) for where, item in items)


def with_labels(completions: Sequence[Completion], labelled: Sequence[Completion], name: str) -> tuple[Completion, ...]:
    """Those of the completions that are labelled, with their labels.

    Rows are matched by id if both sides have ids; where an id comes twice, as with answers under several conditions, by id and
    answer. Without ids they are matched by prompt and answer, else by place if there are as many.

    Raises:
        JudgeError: if nothing matches, or one row is labelled in two ways.
    """
    key: Callable[[Completion], Hashable]
    named = all(c.id for c in completions) and all(c.id for c in labelled)
    answers = any(c.answer for c in labelled)  # an answer may be empty; a column without any says nothing
    if named and len({c.id for c in completions}) == len(completions):
        key = _id
    elif named and answers:
        key = _id_and_answer
    elif named:
        raise JudgeError(
            f"{name}: an id stands for several of the {len(completions)} completions, and the labels have no answers to tell them "
            "apart; give the labels the column of answers, or each completion an id of its own"
        )
    elif answers:
        key = _words
    elif len(completions) == len(labelled):
        rows = zip(completions, labelled, strict=True)
        return tuple(replace(c, label=other.label) for c, other in rows)
    else:
        raise JudgeError(
            f"{name}: {len(labelled)} labels for {len(completions)} completions, and no ids or answers to match them by; "
            "give the labels an id column"
        )
    labels: dict[Hashable, Class | None] = {}
    for row in labelled:
        if labels.setdefault(key(row), row.label) != row.label:
            raise JudgeError(f"{name}: {one_line(key(row), 60)} is labelled in two ways; keep one")
    found = tuple(replace(c, label=labels[key(c)]) for c in completions if key(c) in labels)
    if not found:
        raise JudgeError(f"{name}: none of its {len(labelled)} labels is of one of the {len(completions)} completions")
    return found


def class_name(label: str) -> Class | None:
    """The class that a label means, in any of the spellings in use, or None."""
    return NAMES.get(" ".join(label.lower().replace("_", " ").replace("-", " ").split()))


def _id(row: Completion) -> str:
    return row.id


def _id_and_answer(row: Completion) -> tuple[str, str]:
    return row.id, row.answer.strip()


def _words(row: Completion) -> tuple[str, str]:
    return row.prompt.strip(), row.answer.strip()


def _items(path: Path, name: str) -> list[tuple[str, Any]]:
    suffix = path.suffix.lower()
    if suffix == ".eval":
        with zipfile.ZipFile(path) as log:
            samples = sorted(member for member in log.namelist() if member.startswith("samples/"))
            return [(f"{name}: {member}", _sample(json.loads(log.read(member)))) for member in samples]
    text = path.read_text(encoding="utf-8-sig")
    if suffix == ".jsonl":
        return parse_jsonl(text, name)
    if suffix == ".csv":
        return [(where, row) for where, row in parse_delimited(text, name, ",")[0] if row is not None]
    value = json.loads(text)
    if isinstance(value, dict) and isinstance(value.get("samples"), list):
        return [(f"{name}: sample {i}", _sample(sample)) for i, sample in enumerate(value["samples"], start=1)]
    if not isinstance(value, list):
        raise ValueError("expected a list of objects, or an Inspect log with samples")
    return [(f"{name}: item {i}", item) for i, item in enumerate(value, start=1)]


def _sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    """A sample of an Inspect log as a row."""
    asked = sample.get("input", "")
    if isinstance(asked, list):
        users = [m for m in asked if isinstance(m, dict) and m.get("role") == "user"]
        asked = _said(users[0].get("content")) if users else ""
    output = sample.get("output") or {}
    answer = output.get("completion")
    if not answer and output.get("choices"):
        answer = _said(output["choices"][0].get("message", {}).get("content"))
    return {"id": f"{sample.get('id', '')}-{sample.get('epoch', 1)}", "prompt": asked, "answer": answer or ""}


def _said(content: Any) -> str:
    """The text of a message, which may come in parts."""
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _completion(where: str, item: Any, labelled: bool) -> Completion:
    if isinstance(item, Broken):
        raise JudgeError(f"{where}: {item.reason}")
    if not isinstance(item, Mapping):
        raise JudgeError(f"{where}: expected an object with a prompt and an answer, got {type(item).__name__}")
    prompt, answer, label = (_part(item, names) for names in (PROMPTS, ANSWERS, LABELS))
    ident = item.get("id")
    told = None if label is None else class_name(label)
    if labelled and told is None:
        raise JudgeError(
            f"{where}: got the label {label!r}, expected one of {', '.join(CLASSES)} in a column {' or '.join(LABELS[:2])}"
        )
    if answer is None and not labelled:
        raise JudgeError(
            f"{where}: no answer; expected a column {', '.join(ANSWERS[:4])}, found {', '.join(map(str, item))}"
        )
    language, style = (_part(item, (name,)) or "" for name in ("language", "style"))
    return Completion(prompt or "", answer or "", "" if ident is None else str(ident), told, language, style)


def _part(item: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of these columns that is there; lists of messages are read to their first user's or their text."""
    for name in names:
        if name in item:
            value = item[name]
            if isinstance(value, list):
                messages = [m for m in value if isinstance(m, dict)]
                users = [m for m in messages if m.get("role") == "user"]
                value = _said(next(iter(users or messages), {}).get("content"))
            return "" if value is None or value != value else str(value)
    return None
