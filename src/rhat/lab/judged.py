"""Judged: how a lab reads answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from rhat.prompts import Prompt
from rhat.scoring.judges import Judge
from rhat.scoring.reading import classes, reader

if TYPE_CHECKING:
    from rhat.selection.finding import Finding


class Judged:
    """The part of a lab that reads answers; the lab has a finding, which says what they are read with."""

    if TYPE_CHECKING:
        finding: Finding

    @cached_property
    def reader(self) -> Judge:
        """The judge of all answers: the default one, and the user's own refusal phrases."""
        return reader(self.finding.phrases)

    def read(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> tuple[str, ...]:
        """The class of each answer, by that judge."""
        return tuple(str(found) for found in classes(self.reader, [p.text for p in prompts], answers))
