"""The prompts and statements that come with the package."""

from dataclasses import dataclass
from importlib import resources
from typing import Any

from rhat.errors import PromptError
from rhat.prompts.assembling import assemble
from rhat.prompts.contrast import ContrastSet, Label
from rhat.prompts.rows import rows_from
from rhat.prompts.shapes import parse_jsonl
from rhat.prompts.sources import Source
from rhat.reprs import one_line


@dataclass(frozen=True)
class StatementPair:
    """A true statement and a false one that differs from it only in the fact."""

    id: str
    true: str
    false: str
    category: str

    __repr__ = one_line


def builtin(seed: int = 0) -> ContrastSet:
    """The built-in harmful, harmless and borderline prompts, and the unsafe twins of the last.

    Harmful and harmless prompts each have 256 in train, 64 in validation, 64 in calibration and the rest, at
    least 256, in test; borderline prompts and their twins are all in test. Topics, of three prompts, never straddle splits.
    Neither 256 nor 64 is a multiple of three, so in each of the first three splits one topic gives one prompt
    and its other two are left out of the set: six prompts of a label. See `split_by_topic` for the rule.
    """
    names: dict[Label, str] = {
        "harmful": "harmful.jsonl",
        "harmless": "harmless.jsonl",
        "borderline": "borderline.jsonl",
        "twin": "twin.jsonl",
    }
    rows = {label: rows_from(_items(name), Source(name, column="text"))[0] for label, name in names.items()}
    return assemble(rows, "builtin", seed, names)


def statements() -> tuple[StatementPair, ...]:
    """Pairs of a true and a false statement, for the finders that read truth (CCS and PCA on pairs)."""
    return tuple(
        StatementPair(value["id"], value["true"], value["false"], value["category"])
        for _, value in _items("statements.jsonl")
    )


def _items(name: str) -> list[tuple[str, Any]]:
    file = resources.files("rhat.prompts") / "data" / name
    try:
        return parse_jsonl(file.read_text(encoding="utf-8"), name)
    except FileNotFoundError as error:
        raise PromptError(f"{name}: missing from the installed package; install rhat again") from error
