"""What a run says of itself: its model, prompts, direction, candidates, conditions and claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, create_model

from rhat.artifacts.record import (
    Cosine,
    Count,
    Divergence,
    Fraction,
    FromEnd,
    Index,
    Judgement,
    Label,
    Length,
    Nats,
    Natural,
    Place,
    Positive,
    Record,
    Share,
    Units,
    unit,
)
from rhat.vocabulary import PARAMETERS
from rhat.vocabulary.operators import operators_taking


class _Condition(Record):
    """What each condition id stands for; the keys are the ids used everywhere below."""

    op: str
    """none, set_projection, add, subtract, ablate, repe_add, patch_heads, …"""
    direction: str | None = None
    """rhat, random:SEED, permuted:SEED, lat, ccs, …"""
    sites: tuple[str, ...] = ()
    """where it edits, such as [\"resid_pre.16\"]"""
    scope: str | None = None
    """token scope; all when absent"""
    target: Units | None = None
    """projection that setting sets"""
    coefficient: Units | None = None
    """multiple of the unit direction that is added or subtracted"""
    heads: tuple[Place, ...] = ()
    """heads whose output is replaced"""
    seed: int | None = None
    """seed of a random direction or choice of heads"""
    when: str | None = None
    """of a conditional intervention: on which side of the threshold a prompt's projection lets it through"""
    threshold: Units | None = None
    """of a conditional intervention: where its gate opens"""


if TYPE_CHECKING:
    Condition = _Condition
else:  # with a field for the number of every operator, those named above first
    Condition = create_model(
        "Condition",
        __base__=_Condition,
        __module__=__name__,
        __doc__=_Condition.__doc__,
        **{
            name: (
                Annotated[float, unit("residual units" if parameter.by_means else parameter.unit or "factor")] | None,
                Field(None, description=f"{parameter.symbol} of {', '.join(operators_taking(name))}"),
            )
            for name, parameter in PARAMETERS.items()
            if name not in _Condition.model_fields
        },
    )


class Model(Record):
    """The model that was measured."""

    name: str
    """name or path as given"""
    revision_or_sha256: str | None = None
    """what pins the weights"""
    architecture: str | None = None
    """transformers' class name"""
    n_layers: Annotated[Count, unit("layers")]
    """number of blocks"""
    d_model: Annotated[Count, unit("dimensions")]
    """width of the residual stream"""
    dtype: str | None = None
    """dtype of the forward passes"""
    weight_format: str | None = None
    """safetensors, gguf, …"""
    weights: str | None = None
    """hash of samples of the weights, the same however they were loaded"""
    response_prefix: str | None = None
    """text after which every answer begins: given, or chosen to lead past a think block or a channel"""
    thinking: Literal["on", "skip"] | None = None
    """on: answers came after a think block, and what follows it was judged; skip: prompts end with an empty one; absent: off"""
    thinking_tokens: Annotated[Count, unit("tokens")] | None = None
    """how many tokens a think block may have, where thinking is on"""


class PromptCount(Record):
    """How many prompts went in, per split and label. `prompts_fingerprint` pins them."""

    split: str
    """train, validation, calibration or test"""
    label: Label
    """harmful, harmless, borderline or twin"""
    given: Natural
    """how many the set has"""
    kept: Natural | None = None
    """how many the behaviour filter left; absent where it does not apply"""
    used: Natural | None = None
    """how many were measured, where that is fewer"""


class RefusalToken(Record):
    """First tokens of refusals, found on training prompts."""

    id: Natural
    """token id"""
    text: str
    """the token's text"""
    share: Share
    """share of the refusals that begin with it"""


class Opening(Record):
    """Commonest openings of answers to harmful training prompts, where too few of them refuse to look for r̂."""

    text: str
    """its first few words"""
    count: Count
    """answers that open so"""


class DirectionRow(Record):
    """The direction r̂ that everything below uses."""

    site: str
    """such as resid_pre.16"""
    layer: Index
    """layer of resid_pre"""
    position: FromEnd
    """token it was read at; -1 is the last prompt token"""
    norm: Length
    """length of the raw difference of means"""
    method: str
    """finder, such as mean_difference"""
    harmful_mean: Units | None = None
    """mean training projection of the harmful prompts that the behaviour filter kept: the target t of this run"""
    harmful_mean_all: Units | None = None
    """the same of all harmful training prompts, refused or not: the other target t"""
    score_threshold: Nats | None = None
    """refusal score above which the behaviour filter takes a prompt to be refused, fitted on judged answers"""
    harmless_mean: Units | None = None
    """the same of harmless prompts"""
    found_on: str | None = None
    """the model that it was found on, where that is another than the one that was measured"""


class Selection(Record):
    """The rule by which r̂ was chosen."""

    rule: str
    """a name of `rhat.vocabulary.RULE_KINDS`: published, relaxed (the labelled second one), cosmic, generation, first_auroc"""
    kl_max: Divergence | None = None
    """largest mean KL allowed"""
    induce_min: Nats | None = None
    """induce score a candidate has to exceed"""
    last_layer: Index | None = None
    """last layer that may be chosen"""
    removed: Annotated[dict[str, int], unit("candidates")] | None = None
    """by part of the rule (zero_norm, layer, induce, kl, auroc): how many it removed"""


class Candidate(Record):
    """Every candidate and what became of it."""

    position: FromEnd
    """token position"""
    layer: Index
    """layer of resid_pre"""
    ablation_score: Nats | None = None
    """mean refusal score of harmful prompts while it is ablated"""
    ablation_n: Annotated[Natural, unit("prompts")] | None = None
    """prompts on which `ablation_score` stands: those clearly behind the leader are not run on all"""
    induce_score: Nats | None = None
    """mean refusal score of harmless prompts while it is added"""
    kl: Divergence | None = None
    """mean KL(base ‖ edited) of the next token on harmless prompts"""
    norm: Length | None = None
    """length of the raw difference of means"""
    induce_n: Annotated[Natural, unit("prompts")] | None = None
    """prompts on which `induce_score` stands: those far from the threshold are not run on all"""
    induce_rise: Nats | None = None
    """of the relaxed rule: mean rise of the refusal score above the baseline's"""
    induce_rise_low: Nats | None = None
    """lower end of its 95 % interval"""
    scores: Annotated[dict[str, float], unit("as its rule says")] | None = None
    """of another rule than the published one: what it chose by, by name, such as cosmic or auroc"""
    status: str
    """selected, kept, or the rule that dropped it"""


class Claim(Record):
    """The primary claims, each by its own test, Holm-adjusted together. Each names a row of `comparisons`."""

    id: str
    """set_vs_baseline, add_vs_set, random_vs_baseline, ablate_vs_baseline, heads_vs_random"""
    claim: str
    """the claim in a sentence"""
    treatment: str
    """condition id"""
    reference: str
    """condition id"""
    prompts: Label
    """which prompts"""
    test: Literal["more", "less", "equivalent", "noninferior"] | None = None
    """its own test: of a difference in one direction, or of one smaller than the margin"""
    margin: Share | None = None
    """margin of that test"""
    p: Fraction | None = None
    """p of that test"""
    holm_p: Fraction
    """the same, adjusted over the primary claims"""
    verdict: Judgement
    """what is claimed (more: better, less: worse, equivalent), where `holm_p` shows it; else undecided"""


class Agreement(Record):
    """Rows of `score_agreement.conditions`."""

    condition: str
    """id of the condition, a key of `conditions`"""
    prompts: Label
    """which prompts"""
    agreement: Share
    """share judged alike"""
    kappa: Cosine | None = None
    """Cohen's κ; absent where undefined"""
    n: Count
    """answers judged"""


class ScoreAgreement(Record):
    """How far the judge and log-odds agree on refused or not."""

    agreement: Share
    """share of answers judged alike"""
    kappa: Cosine
    """Cohen's κ"""
    n: Count
    """answers judged"""
    threshold: Nats | None = None
    """score above which an answer counts as refused: that of the behaviour filter; 0 when absent"""
    conditions: tuple[Agreement, ...] = ()
    """the same per condition"""


class Timing(Record):
    """Where the time went, and what was computed. Work that an interrupted run had kept counts; its seconds do not."""

    stage: str
    """name of the stage"""
    seconds: Annotated[Positive, unit("s")]
    """wall time"""
    block_tokens: Annotated[Natural, unit("tokens")] | None = None
    """tokens through blocks, padding included: 10 tokens through 24 blocks count 240"""
    vocabulary_tokens: Annotated[Natural, unit("tokens")] | None = None
    """hidden states that met the vocabulary"""
    decode_steps: Annotated[Natural, unit("blocks")] | None = None
    """blocks run on one token a row, as decoding does: a step of a model of 24 blocks counts 24"""
    gflop: Annotated[Positive, unit("GFLOP")] | None = None
    """floating-point operations of the matrix products"""
