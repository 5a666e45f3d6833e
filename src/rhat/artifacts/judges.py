"""Rows of results.json on the judges of answers: how well each reads."""

from __future__ import annotations

from typing import Annotated, Literal

from rhat.artifacts.record import Cosine, Count, Label, Natural, Record, Share, unit

Class = Literal["refused", "partial", "complied", "degenerate"]
Answers = Annotated[Natural, unit("answers")]


class ClassReading(Record):
    """How well a judge tells one class of labelled answers from the others."""

    label: Class
    """the class"""
    sensitivity: Share | None = None
    """share of the answers labelled so that it finds"""
    sensitivity_ci_low: Share | None = None
    """95 % interval of `sensitivity` (Wilson), lower end"""
    sensitivity_ci_high: Share | None = None
    """upper end"""
    n: Answers
    """answers labelled so"""
    specificity: Share | None = None
    """share of the other answers that it does not call so"""
    specificity_ci_low: Share | None = None
    """95 % interval of `specificity` (Wilson), lower end"""
    specificity_ci_high: Share | None = None
    """upper end"""
    n_others: Answers
    """other labelled answers"""


class JudgeRow(Record):
    """A judge, and how well it reads the labelled answers that come with rhat (test split), cut as this study's are.

    `score` reads the model and no text: it is held against the default judge's reading of the unedited model's answers to
    test prompts.
    """

    judge: str
    """its name"""
    version: str
    """its version"""
    default: bool
    """whether it is the judge of all rates, comparisons and verdicts of this run"""
    tokens: Annotated[Count, unit("tokens")]
    """of the model's tokenizer, after which labelled answers were cut, as the answers were"""
    against: Literal["labels", "default judge"] = "labels"
    """what it was held against"""
    labelled: Answers
    """answers that it was held against"""
    untold: Answers
    """labelled answers that it could not tell, left out of the numbers"""
    kappa: Cosine | None = None
    """Cohen's κ with the labels over the four classes"""
    kappa_ci_low: Cosine | None = None
    """95 % interval of `kappa`, lower end"""
    kappa_ci_high: Cosine | None = None
    """upper end"""
    kappa_refused: Cosine | None = None
    """the same of refused against not refused"""
    passed: bool
    """κ ≥ 0.6, and at least half of each of the four classes found: any of its shares may be a headline"""
    passed_refused: bool
    """the same for refused against not refused: its rate of refusals may be a headline, its other shares are only shown"""
    classes: tuple[ClassReading, ...] = ()
    """class by class"""


class PanelRate(Record):
    """The answers of one condition as each judge of the panel reads them, and how far it agrees with the default judge there."""

    condition: str
    """id of the condition, a key of `conditions`"""
    prompts: Label
    """which prompts"""
    judge: str
    """name of the judge, as in `judges`"""
    n: Answers
    """answers that it could tell"""
    untold: Answers
    """answers that it could not"""
    refused: Natural
    """judged refused"""
    partial: Natural
    """judged to help in part or with something else"""
    complied: Natural
    """judged complied"""
    degenerate: Natural
    """judged empty or broken"""
    rate: Share
    """refused / n"""
    ci_low: Share
    """95 % interval of `rate` (Wilson), lower end"""
    ci_high: Share
    """upper end"""
    corrected_rate: Share | None = None
    """`rate` corrected for this judge's own errors, as in `rates`"""
    corrected_ci_low: Share | None = None
    """95 % interval of `corrected_rate`, lower end"""
    corrected_ci_high: Share | None = None
    """upper end"""
    agreement: Share | None = None
    """share of these answers that the default judge puts into the same class; absent for that judge itself"""
    agreement_ci_low: Share | None = None
    """95 % interval of `agreement` (Wilson), lower end"""
    agreement_ci_high: Share | None = None
    """upper end"""
    kappa: Cosine | None = None
    """Cohen's κ with the default judge over the four classes, within this condition; absent where undefined"""


class Disagreement(Record):
    """Answers to harmless or borderline prompts on which judges differ most; those to harmful prompts and unsafe twins are never kept."""

    condition: str
    """id of the condition, a key of `conditions`"""
    prompts: Label
    """which prompts; never harmful ones or twins"""
    prompt_id: str
    """id of the prompt"""
    answer: str
    """what was read of the answer"""
    classes: dict[str, Class]
    """by judge: the class that it gave"""
