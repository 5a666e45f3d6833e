"""A contrast set from lists of Python strings."""

from __future__ import annotations

from collections.abc import Sequence

from rhat.errors import PromptError
from rhat.prompts.assembling import assemble, check_twins
from rhat.prompts.contrast import ContrastSet, Label
from rhat.prompts.rows import Row


def of(
    harmful: Sequence[str],
    harmless: Sequence[str],
    borderline: Sequence[str] = (),
    seed: int = 0,
    name: str = "lists",
    *,
    twins: Sequence[str] = (),
) -> ContrastSet:
    """A contrast set from lists of instructions, split by topic as those of files are (see `read`).

    `twins` are unsafe requests that are worded as the borderline ones are.

    Raises:
        PromptError: if twins are given without borderline prompts, a list is one string, an item is no text, a prompt has two labels, or a label has fewer than 8
            different prompts.
    """
    given: dict[Label, Sequence[str]] = {"harmful": harmful, "harmless": harmless}
    if len(borderline):
        given["borderline"] = borderline
    if len(twins):
        check_twins(len(borderline))
        given["twin"] = twins
    for label, texts in given.items():
        if isinstance(texts, str):
            raise PromptError(
                f"{label}: expected a list of prompts, got one string; put it in a list, or use prompts.read"
            )
        for number, text in enumerate(texts, start=1):
            if not isinstance(text, str) or not text.strip():
                got = "an empty text" if isinstance(text, str) else type(text).__name__
                raise PromptError(f"{label}, prompt {number}: got {got}, expected an instruction as a string")
    rows = {
        label: [Row(text, f"{label}, prompt {number}") for number, text in enumerate(texts, start=1)]
        for label, texts in given.items()
    }
    return assemble(rows, name, seed, {label: label for label in given})
