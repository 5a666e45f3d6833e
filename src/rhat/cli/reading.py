"""Options of how answers are classified."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rhat.errors import StudyError
from rhat.vocabulary import JUDGED_TOKENS

if TYPE_CHECKING:
    from rhat.directions import Direction
    from rhat.selection.settings import FindSettings

READING_PANEL = "How answers are classified"


@dataclass(frozen=True)
class ReadingOptions:
    """How answers are classified."""

    refusal_phrases: Annotated[
        Path | None,
        typer.Option(
            "--refusal-phrases",
            help="File with openings of refusals in any language, one per line, in addition to the built-in ones.",
            show_default=False,
            rich_help_panel=READING_PANEL,
        ),
    ] = None
    refusal_tokens: Annotated[
        str | None,
        typer.Option(
            "--refusal-tokens",
            help="First tokens of refusals, in place of detected ones: ids or texts, separated by commas.",
            show_default=False,
            rich_help_panel=READING_PANEL,
        ),
    ] = None

    judged_tokens: Annotated[
        int,
        typer.Option(
            "--judged-tokens",
            min=1,
            help="Tokens of each answer that are generated and judged.",
            rich_help_panel=READING_PANEL,
        ),
    ] = JUDGED_TOKENS

    def read_as(self, direction: Direction) -> FindSettings:
        """Settings that read answers as a direction's were read, but for what is given here."""
        from rhat.scoring.phrases import Phrases
        from rhat.selection.settings import FindSettings

        known = FindSettings.read_as(direction)
        return replace(
            known,
            phrases=known.phrases if self.refusal_phrases is None else Phrases.read(self.refusal_phrases),
            refusal_tokens=self.tokens() or known.refusal_tokens,
            judged_tokens=self.judged_tokens,
        )

    def tokens(self) -> tuple[int | str, ...]:
        """Ids and texts, as arguments of FindSettings and StudyConfig. Spaces are part of a text.

        Raises:
            StudyError: if one of them is empty.
        """
        if self.refusal_tokens is None:
            return ()
        given = self.refusal_tokens.split(",")
        if not all(given):
            raise StudyError(
                f"--refusal-tokens {self.refusal_tokens!r}: got an empty token; give ids or texts with commas between them"
            )
        return tuple(int(one) if one.isascii() and one.isdecimal() else one for one in given)
