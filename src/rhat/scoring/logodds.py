"""Refusal by first-token log-odds: cheap, paired, and continuous."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.errors import StatisticsError
from rhat.model.chat import ChatModel
from rhat.model.clean_run import CleanRun
from rhat.model.edits import Edits
from rhat.model.logits import last_logits
from rhat.model.plans import Plan
from rhat.model.precision import wide
from rhat.model.template import ChatPrompt

ROWS_AT_ONCE = 8  # a vocabulary in float64 is a megabyte a row, and is needed a few times over


def refusal_score(logits: Float[Tensor, "*batch vocab"], tokens: Sequence[int]) -> Float[Tensor, "*batch"]:
    """log P(refusal tokens) − log P(all others), in float64: 0 where the first token is as likely to refuse as not.

    logsumexp over the refusal tokens minus logsumexp over the rest, which is exact where P is near 0 or 1.
    Arditi et al. 2024, section 2.5 and appendix.

    Raises:
        StatisticsError: if there are no refusal tokens.
    """
    if not len(tokens):
        raise StatisticsError(
            "refusal_score: got no refusal tokens, expected at least one; find them on training prompts"
        )
    chosen = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
    chosen[list(tokens)] = True
    parts = []
    for some in logits.reshape(-1, logits.shape[-1]).split(ROWS_AT_ONCE):
        exact = wide(some)
        chosen = chosen.to(exact.device)
        inside = torch.logsumexp(exact[:, chosen], -1)
        parts.append(inside - torch.logsumexp(exact.masked_fill(chosen, -torch.inf), -1))
    return torch.cat(parts).reshape(logits.shape[:-1])


def last_token_scores(
    model: ChatModel,
    plan: Plan | Sequence[ChatPrompt],
    tokens: Sequence[int],
    edits: Edits | None = None,
    base: CleanRun | None = None,
) -> Float[Tensor, " n"]:
    """The refusal score of each prompt of a plan or list, in its order, float64 on the CPU."""
    if not isinstance(plan, Plan):
        plan = model.plan(plan)
    scores = torch.empty(len(plan), dtype=torch.float64)
    for rows, logits in last_logits(model, plan, edits, base):
        scores[rows.cpu()] = refusal_score(logits, tokens).cpu()
    return scores
