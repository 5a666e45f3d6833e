"""Options on how r̂ is found and chosen: the finder, and the rule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rhat.vocabulary import FINDER_KINDS, RULE_KINDS

if TYPE_CHECKING:
    from torch import Tensor

FINDER, RULES = "The finder", "Selection rules"


@dataclass(frozen=True)
class FinderOptions:
    """Which finder makes the candidates, of what, and where."""

    finder: Annotated[
        str,
        typer.Option(
            "--finder",
            help=f"What computes the candidates: {', '.join(kind.written for kind in FINDER_KINDS.values())}.",
            rich_help_panel=FINDER,
        ),
    ] = "mean_difference"
    vector: Annotated[
        Path | None,
        typer.Option(
            "--vector",
            help="The vector of --finder given: a file that [bold]rhat import[/bold] reads.",
            show_default=False,
            rich_help_panel=FINDER,
        ),
    ] = None
    key: Annotated[
        str | None,
        typer.Option("--key", help="Name of its tensor, if there are several.", rich_help_panel=FINDER),
    ] = None
    row: Annotated[
        int | None,
        typer.Option("--row", min=0, help="Row of its matrix, such as a decoder.", rich_help_panel=FINDER),
    ] = None
    borderline: Annotated[
        str | None,
        typer.Option(
            "--borderline",
            help="Borderline prompts, for --finder false_refusal: a file or data set id.",
            rich_help_panel=FINDER,
        ),
    ] = None
    instruction_token: Annotated[
        bool,
        typer.Option(
            "--instruction-token",
            help="Candidates at the last token of the instruction too, beside the template's after it.",
            rich_help_panel=FINDER,
        ),
    ] = False

    def read(self, width: int | None = None) -> dict[str, Any]:
        """These options as settings of a search; the vector is read, once the model's width is known from its rows.

        Raises:
            ContrastError: if there is no such finder, or it lacks its vector.
            DirectionError: if the vector cannot be read.
        """
        from rhat.directions.finders import check_finder
        from rhat.errors import ContrastError

        kind = check_finder(self.finder)
        needed = kind is not None and "vector" in kind.needs
        if needed and self.vector is None:
            raise ContrastError(f"finder {self.finder!r}: got no vector; give its file with --vector")
        if not needed and self.vector is not None:
            raise ContrastError(f"--vector: got {self.vector} for the finder {self.finder}; it is for --finder given")
        vector = None if self.vector is None else self._vector(self.vector, width)
        return {"finder": self.finder, "instruction_token": self.instruction_token, "vector": vector}

    def _vector(self, file: Path, width: int | None) -> Tensor:
        """The file's vector, whatever site it names: the search tries it at all."""
        from rhat.errors import DirectionError
        from rhat.vectors import read

        try:
            return read(file, key=self.key, row=self.row, width=width).raw
        except DirectionError:  # a plain tensor names no site; one is made up for it
            return read(file, key=self.key, row=self.row, width=width, site="resid_pre.0").raw


@dataclass(frozen=True)
class RuleOptions:
    """Which rule chooses among the candidates, and its thresholds."""

    rule: Annotated[
        str,
        typer.Option("--rule", help=f"What chooses one candidate: {', '.join(RULE_KINDS)}.", rich_help_panel=RULES),
    ] = "published"
    kl_max: Annotated[
        float,
        typer.Option(
            "--kl-max",
            min=0,
            help="Largest KL, in nats, that ablation may cause on harmless prompts.",
            rich_help_panel=RULES,
        ),
    ] = 0.1
    induce_min: Annotated[
        float,
        typer.Option("--induce-min", help="Refusal score that adding a candidate must exceed.", rich_help_panel=RULES),
    ] = 0.0
    skip_last: Annotated[
        float,
        typer.Option(
            "--skip-last",
            min=0,
            max=0.99,
            help="Share of layers, counted from the last, to skip.",
            rich_help_panel=RULES,
        ),
    ] = 0.2

    def read(self) -> dict[str, Any]:
        """These options as settings of a search.

        Raises:
            StudyError: if there is no such rule.
        """
        from rhat.selection.rules import check_rule

        thresholds = {"kl_max": self.kl_max, "induce_min": self.induce_min, "skip_last": self.skip_last}
        return {"rule": check_rule(self.rule), **thresholds}
