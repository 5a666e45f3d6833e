"""Contrast sets: labelled prompts, from files or built in, split so that each topic stays in one split."""

from rhat.prompts.contrast import LABELS, SPLITS, UNSAFE, ContrastSet, Label, Prompt, Split
from rhat.prompts.listed import of
from rhat.prompts.reading import read, read_texts
from rhat.prompts.shipped import StatementPair, builtin, statements

__all__ = [
    "LABELS",
    "SPLITS",
    "UNSAFE",
    "ContrastSet",
    "Label",
    "Prompt",
    "Split",
    "StatementPair",
    "builtin",
    "of",
    "read",
    "read_texts",
    "statements",
]
