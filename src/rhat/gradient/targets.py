"""Targets: what the model itself says, as token ids in memory; no answer is written by us, decoded for a file, or kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from rhat.directions import Direction
from rhat.errors import ContrastError
from rhat.generation.completions import generate_tokens
from rhat.gradient.settings import GradientSettings
from rhat.interventions import ablate_subspace, orthonormal
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits
from rhat.model.plans import TokenIds
from rhat.model.template import ChatPrompt
from rhat.reprs import one_line
from rhat.scoring.phrases import BUILT_IN, Phrases
from rhat.scoring.refusals import refusals

LEAST = 1e-3  # length of what must be left of the start for it to be a direction of its own
OPENING = (
    3  # tokens of the model's own commonest opening that stand in for an answer that ablation does not bring about
)


@dataclass(frozen=True, eq=False)
class Targets:
    """Prompts with what the model should say after them.

    answers   (harmful prompt, an answer to it), for ablation
    refusals  (harmless prompt, a refusal), for addition
    kept      (harmless prompt, the unedited answer), along which the model should stay as it is
    opened    of the answers, how many are the unedited continuation of an opening, because ablation brought none about
    """

    answers: tuple[tuple[TokenIds, TokenIds], ...]
    refusals: tuple[tuple[TokenIds, TokenIds], ...]
    kept: tuple[tuple[TokenIds, TokenIds], ...]
    opened: int

    __repr__ = one_line


def targets_of(
    model: ChatModel,
    harmful: Sequence[ChatPrompt],
    harmless: Sequence[ChatPrompt],
    start: Direction,
    settings: GradientSettings,
    beside: Sequence[Direction] = (),
    phrases: Phrases = BUILT_IN,
) -> Targets:
    """What the loss is measured on.

    The answer to a harmful prompt is the model's own under ablation of the start (and of `beside`). Where that answer is a
    refusal, or begins as without ablation, it is the unedited continuation of the commonest opening (3 tokens) of the
    model's answers to the harmless prompts. The refusal is its commonest unedited opening after the harmful prompts, so these
    should be prompts that it refuses.

    Raises:
        ContrastError: if there are no prompts of a kind, or the model says nothing after them.
    """
    for name, some in (("harmful", harmful), ("harmless", harmless)):
        if not len(some):
            raise ContrastError(f"gradient: got no {name} prompts, expected some of both kinds")
    bad, good = model.tokens_of(harmful), model.tokens_of(harmless)
    n = settings.tokens
    refusal = _commonest([t[: settings.refusing] for t in _said(model, bad, n)])
    kept = _said(model, good, n)
    opening = _commonest([t[:OPENING] for t in kept])
    answers, opened = _answers(model, bad, with_start(beside, start), opening, n, phrases)
    return Targets(
        tuple(zip(bad, answers, strict=True)),
        tuple((prompt, refusal) for prompt in good),
        tuple((prompt, said) for prompt, said in zip(good, kept, strict=True) if said),
        opened,
    )


def with_start(beside: Sequence[Direction], start: Direction) -> list[Direction]:
    """What is ablated for the answers: `beside`, and the start unless it lies in the span of that."""
    return list(beside) if beside and inside(start.unit, orthonormal(beside)) else [*beside, start]


def inside(unit: Float[Tensor, " d_model"], basis: Float[Tensor, "k d_model"]) -> bool:
    """Whether a unit vector lies in the span of an orthonormal basis."""
    wide = unit.double().cpu()
    across = wide - wide @ basis.double().cpu().T @ basis.double().cpu()
    return float(across.norm()) < LEAST


def _answers(
    model: ChatModel,
    prompts: Sequence[TokenIds],
    ablated: Sequence[Direction],
    opening: TokenIds,
    n: int,
    phrases: Phrases,
) -> tuple[list[TokenIds], int]:
    """An answer to each harmful prompt, and how many of them begin with the opening."""
    found = refusals(
        model, prompts, ablate_subspace(ablated).edits(model), max_new_tokens=n, phrases=phrases, stop_early=False
    )
    before = _said(model, prompts, n)
    answers: list[TokenIds] = [c.tokens[:n] for c in found.completions]
    lacking = [
        i
        for i, (answer, verdict) in enumerate(zip(answers, found.verdicts, strict=True))
        if verdict == "refused" or not answer or answer == before[i]
    ]
    if lacking:
        led = _said(model, [(*prompts[i], *opening) for i in lacking], n - len(opening)) if n > len(opening) else None
        for place, i in enumerate(lacking):
            answers[i] = (*opening, *(led[place] if led else ()))[:n]
    return answers, len(lacking)


def _said(model: ChatModel, prompts: Sequence[TokenIds], n: int, edits: Edits | None = None) -> list[TokenIds]:
    return [c.tokens[:n] for c in generate_tokens(model, prompts, edits, max_new_tokens=n)]


def _commonest(openings: Sequence[TokenIds]) -> TokenIds:
    """The commonest that is not empty; of several the one that comes first.

    Raises:
        ContrastError: if all are empty.
    """
    counted = Counter(opening for opening in openings if opening)
    if not counted:
        raise ContrastError("gradient: the model says nothing after these prompts; check its chat template")
    return counted.most_common(1)[0][0]
