"""A run's results: what was measured and how, with the rows that every question shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from pydantic import Field

from rhat.artifacts.categories import CategoryRate
from rhat.artifacts.examples import Example
from rhat.artifacts.header import (
    Candidate,
    Claim,
    Condition,
    DirectionRow,
    Model,
    Opening,
    PromptCount,
    RefusalToken,
    ScoreAgreement,
    Selection,
    Timing,
)
from rhat.artifacts.judges import Disagreement, JudgeRow, PanelRate
from rhat.artifacts.record import Outcome
from rhat.artifacts.rows import Comparison, Part, Rate
from rhat.errors import ArtifactError
from rhat.reprs import frame, html_table

if TYPE_CHECKING:
    import pandas as pd

P = TypeVar("P", bound=Part)


class AtLayer(Protocol):
    """A row of one layer."""

    @property
    def layer(self) -> int: ...  # noqa: D102


L = TypeVar("L", bound=AtLayer)


class Results(Part):
    """A run, as far as all questions share it; `rhat.questions.contract` adds each question's own rows."""

    schema_version: Literal[3]
    """version of this contract"""
    outcome: Outcome
    """what the search ended in"""
    outcome_sentence: str
    """the same in a sentence, with its numbers"""
    prompts_fingerprint: str | None = None
    """sha256 of the contrast set and its splits"""
    claims_fingerprint: str | None = None
    """sha256 of the table of claims (claim, test, family, margin) that was fixed before the run"""
    settings: dict[str, Any] = Field(default_factory=dict)
    """the study's configuration, as given (`preset`, `seed`, `margin`, …); free"""
    manifest: dict[str, Any] = Field(default_factory=dict)
    """versions, seeds, command line, machine; free, may hold null"""
    conditions: dict[str, Condition] = Field(default_factory=dict)
    """What each condition id stands for; the keys are the ids used everywhere below."""
    model: Model
    """The model that was measured."""
    prompts: tuple[PromptCount, ...] = ()
    """How many prompts went in, per split and label. `prompts_fingerprint` pins them."""
    refusal_tokens: tuple[RefusalToken, ...] = ()
    """First tokens of refusals, found on training prompts."""
    openings: tuple[Opening, ...] = ()
    """Commonest openings of answers to harmful training prompts, where too few of them refuse to look for r̂."""
    direction: DirectionRow | None = None
    """The direction r̂ that everything below uses."""
    selection: Selection | None = None
    """The rule by which r̂ was chosen."""
    candidates: tuple[Candidate, ...] = ()
    """Every candidate and what became of it."""
    primary: tuple[Claim, ...] = ()
    """The primary claims, each by its own test, Holm-adjusted together. Each names a row of `comparisons`."""
    score_agreement: ScoreAgreement | None = None
    """How far the judge and log-odds agree on refused or not."""
    judges: tuple[JudgeRow, ...] = ()
    """The judges of this run, and how well each reads the labelled answers that come with rhat, cut as this study's are."""
    panel: tuple[PanelRate, ...] = ()
    """With `--judge`: the answers of each condition as each judge reads them."""
    disagreements: tuple[Disagreement, ...] = ()
    """With `--judge`: answers to harmless and borderline prompts on which the judges differ most."""
    category_rates: tuple[CategoryRate, ...] = ()
    """Refusal rates within each category of prompts."""
    examples: tuple[Example, ...] = ()
    """Harmless prompts with their answers and verdicts."""
    timings: tuple[Timing, ...] = ()
    """Where the time went."""

    def part(self, kind: type[P]) -> P:
        """The run as a question's own rows see it.

        Raises:
            TypeError: if these results were not composed with that question.
        """
        if not isinstance(self, kind):
            raise TypeError(f"{type(self).__name__} holds no {kind.__module__}.{kind.__name__}")
        return self

    def frame(self, name: str = "rates") -> pd.DataFrame:
        """The rows of one list, such as "rates" or "comparisons", as a pandas frame; fields that were not computed are missing.

        Raises:
            ArtifactError: if there is no such list of rows; it names those there are. Or if pandas is not installed.
        """
        lists = [key for key in self.model_fields_set if isinstance(getattr(self, key), tuple) and getattr(self, key)]
        if name not in lists:
            raise ArtifactError(f"frame {name!r}: expected one of {', '.join(sorted(lists))}")
        return frame([row.model_dump(mode="json", exclude_none=True) for row in getattr(self, name)])

    def __repr__(self) -> str:
        return (
            f"Results({self.model.name}, {self.outcome}: {len(self.rates)} rates, {len(self.comparisons)} comparisons)"
        )

    __str__ = __repr__

    def _repr_html_(self) -> str:
        columns = ("condition", "prompts", "rate", "ci_low", "ci_high", "n")
        rows = [{name: getattr(row, name) for name in columns} for row in self.rates]
        return html_table(rows, f"{self.outcome_sentence} Refusal rates, with 95 % intervals:")

    def find_rate(self, condition: str, prompts: str) -> Rate | None:
        """The refusal rate of a condition, if the run measured it."""
        return next((row for row in self.rates if (row.condition, row.prompts) == (condition, prompts)), None)

    def rate(self, condition: str, prompts: str) -> Rate | None:
        """The refusal rate of a condition, None where the run generated nothing for these prompts.

        Raises:
            ArtifactError: if it generated answers to them under other conditions only; it lists those.
        """
        row = self.find_rate(condition, prompts)
        had = [row.condition for row in self.rates if row.prompts == prompts]
        if row is None and had:
            raise ArtifactError(
                f"rates: expected {condition} on {prompts} prompts, got {', '.join(had)}; "
                "run the study again with this version of rhat"
            )
        return row

    def find_comparison(self, treatment: str, reference: str, prompts: str) -> Comparison | None:
        """The comparison of two conditions on one kind of prompts, if the run made it."""
        wanted = treatment, reference, prompts
        return next((row for row in self.comparisons if row.names == wanted), None)

    def comparison(self, treatment: str, reference: str, prompts: str, *, required: bool = False) -> Comparison | None:
        """The comparison of two conditions, None where the run did not measure both on these prompts.

        `required` says that it must have: other rows of the run name both conditions.

        Raises:
            ArtifactError: if it measured both and did not compare them; it lists what it compared.
        """
        row = self.find_comparison(treatment, reference, prompts)
        if row is not None:
            return row
        had = [row for row in self.comparisons if row.prompts == prompts]
        measured = {name for row in had for name in (row.treatment, row.reference)}
        measured |= {row.condition for row in self.rates if row.prompts == prompts}
        if not (required or (self.comparisons and {treatment, reference} <= measured)):
            return None
        made = ", ".join(f"{row.treatment} − {row.reference}" for row in had)
        raise ArtifactError(
            f"comparisons: expected {treatment} − {reference} on {prompts} prompts, got {made or 'none'}; "
            "run the study again with this version of rhat"
        )

    def claimed(self, claim: Claim) -> Comparison:
        """The comparison that a primary claim names.

        Raises:
            ArtifactError: if the run has none; it lists those it has.
        """
        row = self.find_comparison(claim.treatment, claim.reference, claim.prompts)
        if row is None:
            made = ", ".join(f"{row.treatment} − {row.reference}" for row in self.comparisons)
            raise ArtifactError(
                f"primary: expected the comparison {claim.treatment} − {claim.reference} that it names, got {made or 'none'}"
            )
        return row

    def at_layer(self, name: str, rows: Sequence[L]) -> list[L]:
        """The rows of the list `name` at r̂'s layer; none where the list is empty or the run has no direction.

        Raises:
            ArtifactError: if there are rows of other layers only; it lists those layers.
        """
        layer = self.direction.layer if self.direction else None
        found = [row for row in rows if row.layer == layer]
        if rows and layer is not None and not found:
            had = ", ".join(map(str, dict.fromkeys(row.layer for row in rows)))
            raise ArtifactError(f"{name}: expected a row of layer {layer}, where r̂ is, got rows of layers {had}")
        return found
