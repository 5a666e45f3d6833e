"""Judged: how a lab reads answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

from rhat.prompts import Prompt
from rhat.scoring.judges import Judge
from rhat.scoring.reading import classes, reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from rhat.prompts import ContrastSet
    from rhat.selection.finding import Finding


class Judged:
    """The part of a lab that reads answers; the lab has a finding, which says what they are read with."""

    if TYPE_CHECKING:
        finding: Finding
        prompts: ContrastSet
        panel: tuple[Judge, ...]
        keep_answers: Callable[[dict[str, str]], None] | None

    @cached_property
    def reader(self) -> Judge:
        """The judge of all answers: the default one, and the user's own refusal phrases."""
        return reader(self.finding.phrases)

    def read(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> tuple[str, ...]:
        """The class of each answer, by that judge."""
        return tuple(str(found) for found in classes(self.reader, [p.text for p in prompts], answers))

    def judged(
        self, condition: str, label: str, prompts: Sequence[Prompt], answers: Sequence[str]
    ) -> tuple[tuple[str, ...], dict[str, tuple[str | None, ...]], tuple[str, ...]]:
        """The classes of answers, those by each judge of the panel, and the answers' hashes; the answers go to who keeps them."""
        texts = [p.text for p in prompts]
        found = self.read(prompts, answers)
        panel: dict[str, tuple[str | None, ...]] = {j.name: classes(j, texts, answers) for j in self.panel}
        hashes = tuple(hashed(self.prompts.fingerprint, p.id, text) for p, text in zip(prompts, answers, strict=True))
        if self.keep_answers is not None:
            for prompt, answer, verdict, short in zip(prompts, answers, found, hashes, strict=True):
                row = {"prompt_id": prompt.id, "label": label, "condition": condition}
                self.keep_answers(row | {"prompt": prompt.text, "answer": answer, "class": verdict, "hash": short})
        return found, panel, hashes


def hashed(fingerprint: str, prompt_id: str, answer: str) -> str:
    """The first 16 digits of sha256 over the prompt set's fingerprint, the prompt's id and the answer.

    Who holds the answers can show by it which class each was given; who does not, cannot tell an answer from it, though
    they can try out one that they guess.
    """
    return sha256("\0".join((fingerprint, prompt_id, answer)).encode()).hexdigest()[:16]
