"""Sampling: how the next token is drawn from one row's logits, with a generator of the row's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.errors import PromptError
from rhat.reprs import one_line

FEW = 512  # tokens looked at first: top_p seldom needs more, and sorting a whole vocabulary is slow


@dataclass(frozen=True)
class Sampling:
    """How a row's tokens are drawn. The result depends on the logits and the seed alone, not on the batch.

    temperature        0 takes the likeliest token
    top_p, top_k       keep the smallest set of likeliest tokens with that mass, of at most top_k tokens (0: no limit)
    presence_penalty   taken off the logit of every token that the answer holds already
    frequency_penalty  taken off once for each time it does
    logit_bias         token id → what is added to its logit
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    __repr__ = one_line

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise PromptError(f"temperature: got {self.temperature}, expected a finite number of 0 or more")
        for name in ("presence_penalty", "frequency_penalty"):
            if not math.isfinite(getattr(self, name)):
                raise PromptError(f"{name}: got {getattr(self, name)}, expected a finite number")
        for token, bias in self.logit_bias.items():
            if not bias < math.inf:  # −inf forbids a token
                raise PromptError(f"logit_bias: got {bias} for token {token}, expected a finite number")
        if not 0 < self.top_p <= 1:
            raise PromptError(f"top_p: got {self.top_p}, expected a share above 0 and at most 1")
        if self.top_k < 0:
            raise PromptError(f"top_k: got {self.top_k}, expected 0 (no limit) or more")

    def generator(self) -> torch.Generator:
        """A generator that starts at this seed."""
        return torch.Generator().manual_seed(self.seed)

    def pick(self, logits: Float[Tensor, " vocab"], generated: Sequence[int], generator: torch.Generator) -> int:
        """The next token, drawn in float64 by the inverse of the cumulative distribution."""
        adjusted = self._adjusted(logits.detach().cpu().double(), generated)
        if self.temperature == 0:
            return int(adjusted.argmax())
        scaled = adjusted / self.temperature
        if not bool(scaled.amax().isfinite()):  # a temperature near 0
            scaled = (adjusted - adjusted.amax()) / self.temperature
        values, tokens = _likeliest(scaled, self.top_p, self.top_k)
        mass = torch.softmax(values, -1).cumsum(-1)
        drawn = torch.rand((), dtype=torch.float64, generator=generator) * mass[-1]
        return int(tokens[min(int(torch.searchsorted(mass, drawn, right=True)), len(tokens) - 1)])

    def _adjusted(self, logits: Tensor, generated: Sequence[int]) -> Tensor:
        if not (self.logit_bias or ((self.presence_penalty or self.frequency_penalty) and generated)):
            return logits
        logits = logits.clone()
        for token, bias in self.logit_bias.items():
            logits[token] += bias
        if generated:
            tokens, counts = torch.tensor(list(generated)).unique(return_counts=True)
            logits[tokens] -= self.presence_penalty + self.frequency_penalty * counts
        return logits


def _likeliest(scaled: Float[Tensor, " vocab"], top_p: float, top_k: int) -> tuple[Tensor, Tensor]:
    """Values and ids of the tokens that top_p and top_k keep, likeliest first."""
    vocab = len(scaled)
    if top_p >= 1 and not top_k:
        return scaled, torch.arange(vocab)
    most = min(top_k or vocab, vocab)
    total = torch.logsumexp(scaled if not top_k else scaled.topk(most).values, -1)
    for few in (min(FEW, most), most):
        values, tokens = scaled.topk(few)
        mass = (values - total).exp().cumsum(-1)
        if few == most or float(mass[-1]) >= top_p:
            break
    kept = min(int((mass < top_p).sum()) + 1, len(values))
    return values[:kept], tokens[:kept]
