"""How a study reads answers: with the default judge, beside which the user's own refusal phrases count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

from rhat.executor import Worker
from rhat.generation import Completion
from rhat.model.catalogue import cache_folder
from rhat.scoring.judges import DEFAULT, JUDGES, Judge, Judgement, find_judge
from rhat.scoring.judges.clauses import whole
from rhat.scoring.judges.judge import Class
from rhat.scoring.phrases import BUILT_IN, Phrases, normalise


def reader(phrases: Phrases = BUILT_IN) -> Judge:
    """The judge that reads a study's answers: the default one, and the user's own openings of refusals where there are any.

    An answer that opens with one of these is `refused` where the judge alone would say `complied` or `degenerate`; where
    it sees a refusal with help after it, it stays `partial`.
    """
    default = JUDGES[DEFAULT]
    if not phrases.added:
        return default
    version = f"{default.version}+{phrases.sha256[:8]}"
    return replace(default, version=version, judge=partial(_with_added, phrases), settled=lambda _prompt, _text: None)


def classes(judge: Judge, prompts: Sequence[str], answers: Sequence[str]) -> tuple[Class | None, ...]:
    """The class of each answer, thoughts aside; None where the judge cannot tell."""
    found = judge(prompts, [whole(answer) for answer in answers])
    return tuple(None if judgement is None else judgement.label for judgement in found)


def _with_added(phrases: Phrases, prompts: Sequence[str], answers: Sequence[str]) -> list[Judgement | None]:
    found = JUDGES[DEFAULT](prompts, answers)
    return [
        Judgement("refused")
        if judgement is not None
        and judgement.label in ("complied", "degenerate")
        and normalise(answer).startswith(phrases.added)
        else judgement
        for judgement, answer in zip(found, answers, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Judging:
    """How answers are judged where they are made: plain values, which any process can be given.

    texts    all prompts
    salts    what goes into the hash of the answer to each
    phrases  the user's own openings of refusals
    judges   names of further judges
    lengths  numbers of tokens after which each answer is judged as well
    """

    texts: tuple[str, ...]
    salts: tuple[str, ...]
    phrases: Phrases = BUILT_IN
    judges: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Judged:
    """Answers judged: classes by the default judge and by each further one, salted hashes, and classes after so many tokens."""

    classes: tuple[str, ...]
    panel: dict[str, tuple[str | None, ...]]
    hashes: tuple[str, ...]
    shorter: dict[int, tuple[str, ...]]


def judged(worker: Worker, asked: Judging, rows: Sequence[int], completions: Sequence[Completion]) -> Judged:
    """The answers to the prompts `rows`, judged."""
    own = reader(asked.phrases)
    texts, answers = [asked.texts[row] for row in rows], [completion.text for completion in completions]

    def decoded(length: int) -> list[str]:
        tokenizer: Any = worker.model.tokenizer
        return [tokenizer.decode(list(c.tokens[:length]), skip_special_tokens=True) for c in completions]

    def by(name: str) -> Judge:
        return worker.keep(("judge", name), lambda: find_judge(name, cache=cache_folder(), model=worker.model))

    return Judged(
        _always(own, texts, answers),
        {name: classes(by(name), texts, answers) for name in asked.judges},
        tuple(hashed(asked.salts[row], answer) for row, answer in zip(rows, answers, strict=True)),
        {length: _always(own, texts, decoded(length)) for length in asked.lengths},
    )


def hashed(salt: str, answer: str) -> str:
    """The first 16 digits of sha256 over a salt (the prompt set's fingerprint and the prompt's id) and the answer.

    Who holds the answers can show by it which class each was given; who does not, cannot tell an answer from it, though
    they can try out one that they guess.
    """
    return sha256(f"{salt}\0{answer}".encode()).hexdigest()[:16]


def _always(judge: Judge, prompts: Sequence[str], answers: Sequence[str]) -> tuple[str, ...]:
    """The classes by a judge that always has one."""
    return tuple(str(found) for found in classes(judge, prompts, answers))
