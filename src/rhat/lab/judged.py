"""Judged: how a lab has answers read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from rhat.prompts import Prompt
from rhat.scoring.judges import Judge
from rhat.scoring.reading import Judging, classes, hashed, reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from rhat.lab.measurement import Measurement
    from rhat.prompts import ContrastSet
    from rhat.selection.finding import Finding


class Judged:
    """The part of a lab that has answers read; the lab has a finding, which says what they are read with."""

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

    def judging(self, prompts: Sequence[Prompt], lengths: Sequence[int] = ()) -> Judging:
        """How answers to these prompts are judged where they are made; also after so many of their tokens."""
        return Judging(
            tuple(p.text for p in prompts),
            tuple(self._salt(p) for p in prompts),
            self.finding.phrases,
            tuple(judge.name for judge in self.panel),
            tuple(lengths),
        )

    def handed_on(self, m: Measurement, prompts: Sequence[Prompt]) -> None:
        """Give the answers of a measurement to who keeps them, those whose words are still there."""
        if self.keep_answers is None:
            return
        for prompt, answer, verdict, short in zip(prompts, m.texts, m.verdicts, m.hashes, strict=True):
            if hashed(self._salt(prompt), answer) == short:
                row = {"prompt_id": prompt.id, "label": m.label, "condition": m.condition}
                self.keep_answers(row | {"prompt": prompt.text, "answer": answer, "class": verdict, "hash": short})

    def _salt(self, prompt: Prompt) -> str:
        return f"{self.prompts.fingerprint}\0{prompt.id}"
