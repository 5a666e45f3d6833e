"""The rows that every question shares: rates, scores, comparisons, power, controls, damage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rhat.artifacts.record import (
    Count,
    Difference,
    Divergence,
    Fraction,
    Index,
    Judgement,
    Label,
    Measured,
    Nats,
    Natural,
    Positive,
    Record,
    Share,
    unit,
)


class Rate(Record):
    """Refusal rates by generation on test prompts, and the answers of each class (docs/judging.md), by the default judge."""

    condition: str
    """id of the condition, a key of `conditions`"""
    prompts: Label
    """which prompts"""
    n: Count
    """prompts (or pairs of answers) measured"""
    refused: Natural
    """judged refused"""
    complied: Natural
    """judged complied"""
    partial: Natural | None = None
    """judged to help in part or with something else; absent in results of versions 1 and 2, which count them elsewhere"""
    degenerate: Natural
    """empty or broken"""
    rate: Share
    """refused / n"""
    ci_low: Share
    """95 % interval of `rate` (Wilson), lower end"""
    ci_high: Share
    """upper end"""
    clusters: Count | None = None
    """topics of these prompts; absent where every prompt has a topic of its own"""
    icc: Share | None = None
    """intraclass correlation of refusals within topics: 0 independent, 1 all alike"""
    design_effect: Annotated[float, Field(ge=1)] | None = None
    """the interval of `rate` is that of n / design_effect independent prompts"""
    corrected_rate: Share | None = None
    """`rate` corrected for the errors of the judge (`judges`; Rogan and Gladen), which it must not make more often here"""
    corrected_ci_low: Share | None = None
    """95 % interval of `corrected_rate`, with the uncertainty of the sample and of the judge's errors, lower end"""
    corrected_ci_high: Share | None = None
    """upper end"""
    partial_rate: Share | None = None
    """partial / n"""
    partial_ci_low: Share | None = None
    """95 % interval of `partial_rate` (Wilson), lower end"""
    partial_ci_high: Share | None = None
    """upper end"""
    degenerate_rate: Share | None = None
    """degenerate / n"""
    degenerate_ci_low: Share | None = None
    """95 % interval of `degenerate_rate` (Wilson), lower end"""
    degenerate_ci_high: Share | None = None
    """upper end"""


class Score(Record):
    """Refusal scores (first-token log-odds) of the same conditions."""

    condition: str
    """id of the condition, a key of `conditions`"""
    prompts: Label
    """which prompts"""
    n: Count
    """prompts (or pairs of answers) measured"""
    score_mean: Nats
    """mean refusal score"""
    score_ci_low: Nats
    """95 % interval of `score_mean`, lower end"""
    score_ci_high: Nats
    """upper end"""


class Comparison(Record):
    """Paired comparisons of refusal rates: rate(treatment) − rate(reference)."""

    treatment: str
    """condition id"""
    reference: str
    """condition id"""
    prompts: Label
    """which prompts"""
    n: Count
    """pairs"""
    difference: Difference
    """difference in rates"""
    ci_low: Difference
    """95 % interval of `difference` (Tango), lower end"""
    ci_high: Difference
    """upper end"""
    ci90_low: Difference
    """90 % interval, lower end (the two one-sided tests)"""
    ci90_high: Difference
    """upper end"""
    treatment_only: Natural | None = None
    """pairs where only the treatment refuses"""
    reference_only: Natural | None = None
    """pairs where only the reference does"""
    mcnemar_p: Fraction
    """exact McNemar p of the difference"""
    holm_p: Fraction | None = None
    """the same, adjusted within its question; absent outside a family"""
    equivalence_p: Fraction | None = None
    """p of the two one-sided tests at ± margin, adjusted together with the differences of its question"""
    noninferiority_p: Fraction | None = None
    """p of the lower of these tests, adjusted likewise"""
    corrected_difference: Difference | None = None
    """`difference` corrected for the errors of the judge (`judges`), if they are alike under both conditions"""
    corrected_ci_low: Difference | None = None
    """95 % interval of `corrected_difference`, with the uncertainty of the sample and of the judge's errors, lower end"""
    corrected_ci_high: Difference | None = None
    """upper end"""
    margin: Share
    """margin of equivalence and non-inferiority"""
    equivalent: bool
    """shown to differ by less than the margin: `equivalence_p` < 5 %; without it, by the 90 % interval alone"""
    noninferior: bool
    """shown not to refuse less by the margin or more: `noninferiority_p` < 5 %; without it, `ci90_low` > −margin"""
    verdict: Judgement
    """after Holm: better = higher rate; with `equivalent` as well, by less than the margin"""
    question: str | None = None
    """key of the question it answers"""
    clusters: Count | None = None
    """topics of these prompts; absent where every prompt has a topic of its own"""
    icc: Share | None = None
    """intraclass correlation of the differences within topics: 0 independent, 1 all alike"""
    design_effect: Annotated[float, Field(ge=1)] | None = None
    """the intervals and p values are those of n / design_effect independent prompts; McNemar's p is by sign flips of topics"""

    @property
    def names(self) -> tuple[str, str, str]:
        """Treatment, reference and prompts: what tells comparisons apart."""
        return self.treatment, self.reference, self.prompts


class Power(Record):
    """What each undecided comparison would have needed."""

    treatment: str
    """condition id"""
    reference: str
    """condition id"""
    prompts: Label
    """which prompts"""
    n: Count
    """pairs"""
    discordant_share: Share | None = None
    """share of pairs with different verdicts"""
    power: Share | None = None
    """power of the equivalence test at n; only in older files: power after the fact says nothing that the interval does not"""
    prompts_needed: Count
    """prompts for 80 % power at the margin"""

    @property
    def names(self) -> tuple[str, str, str]:
        """Treatment, reference and prompts of the comparison that it is about."""
        return self.treatment, self.reference, self.prompts


class Control(Measured):
    """Control directions, given the same displacement as the real edit."""

    condition: str
    """id of the condition, a key of `conditions`"""
    seed: int
    """seed of the direction"""
    kind: Literal["orthogonal", "permuted_labels"]
    """how it was drawn"""
    prompts: Label
    """which prompts"""
    kl_mean: Divergence | None = None
    """mean KL(base ‖ edited) of the next token on harmless prompts"""


class Drift(Record):
    """Damage done by each condition, on harmless prompts."""

    condition: str
    """id of the condition, a key of `conditions`"""
    prompts: Label
    """which prompts"""
    n: Count
    """prompts (or pairs of answers) measured"""
    kl_mean: Divergence
    """mean KL(base ‖ edited) of the next token after the prompt"""
    ci_low: Nats
    """95 % interval of `kl_mean`, lower end"""
    ci_high: Nats
    """upper end"""
    cross_entropy: Annotated[Positive, unit("nats/token")] | None = None
    """of the model's own greedy baseline completions"""
    cross_entropy_ci_low: Annotated[float, unit("nats/token")] | None = None
    """95 % interval of `cross_entropy`, lower end"""
    cross_entropy_ci_high: Annotated[float, unit("nats/token")] | None = None
    """upper end"""
    degenerate_share: Share | None = None
    """share of degenerate completions"""


class Separation(Record):
    """The same inside one kind of prompt, so that topic is no help."""

    comparison: str
    """such as "refused vs complied, harmful\""""
    layer: Index | None = None
    """layer of resid_pre; r̂'s own when absent"""
    auroc: Fraction
    """area under the ROC curve"""
    ci_low: Fraction
    """95 % interval of `auroc`, lower end"""
    ci_high: Fraction
    """upper end"""
    n_positive: Count
    """prompts of the first kind"""
    n_negative: Count
    """of the second"""
    verdict: Judgement
    """against chance: better = area above one half"""


class Effect(Measured):
    """`finders[].set_effect`, `stability.refits[].induce` and `.prevent`."""


class Part(Record):
    """What an experiment adds to results.json, of what all questions share; a question's own rows are fields of a subclass."""

    rates: tuple[Rate, ...] = ()
    """Refusal rates by generation on test prompts, and the answers of each class (docs/judging.md), by the default judge."""
    scores: tuple[Score, ...] = ()
    """Refusal scores (first-token log-odds) of the same conditions."""
    drift: tuple[Drift, ...] = ()
    """Damage done by each condition, on harmless prompts."""
    comparisons: tuple[Comparison, ...] = ()
    """Paired comparisons of refusal rates: rate(treatment) − rate(reference)."""
    power: tuple[Power, ...] = ()
    """What each undecided comparison would have needed."""
    random_controls: tuple[Control, ...] = ()
    """Control directions, given the same displacement as the real edit."""
    auroc_within: tuple[Separation, ...] = ()
    """How well the projection tells refused from complied prompts of one kind, so that topic is no help."""
