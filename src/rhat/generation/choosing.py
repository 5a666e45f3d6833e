"""The next token of each row: the likeliest, or drawn as its request says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.generation.rows import Row, TokenLogprob
from rhat.model.precision import wide

BLOCK = 512  # of the vocabulary, in `argmax_tokens`


def argmax_tokens(logits: Float[Tensor, "rows vocab"]) -> Int[Tensor, " rows"]:
    """The likeliest token of each row, the first where several are: argmax, block by block.

    Torch's argmax over bfloat16 on the CPU goes token by token, a tenth of a decode step; its maximum does not.
    """
    vocab = logits.shape[-1]
    whole = vocab // BLOCK * BLOCK
    if whole < 4 * BLOCK:
        likeliest: Tensor = logits.argmax(-1)
        return likeliest
    best = logits[:, :whole].unflatten(1, (-1, BLOCK)).amax(-1)
    if whole < vocab:
        best = torch.cat([best, logits[:, whole:].amax(-1, keepdim=True)], 1)
    block = best.argmax(-1, keepdim=True) * BLOCK
    columns = (block + torch.arange(BLOCK, device=logits.device)).clamp_max(vocab - 1)
    within = logits.gather(1, columns).argmax(-1)
    chosen: Tensor = block[:, 0] + within
    return chosen


def greedy(logits: Float[Tensor, "rows vocab"], _rows: Sequence[Row]) -> Int[Tensor, " rows"]:
    """The likeliest token of each row."""
    return argmax_tokens(logits)


def sample_per_request(logits: Float[Tensor, "rows vocab"], rows: Sequence[Row]) -> Int[Tensor, " rows"]:
    """The token of each row, drawn as its request's sampling says; without sampling, the likeliest."""
    tokens = argmax_tokens(logits)
    for index, row in enumerate(rows):
        sampling = row.request.sampling
        if sampling is not None:
            row.generator = row.generator or sampling.generator()
            tokens[index] = sampling.pick(logits[index], row.generated, row.generator)
    return tokens


def logprob(logits: Float[Tensor, " vocab"], token: int, n_top: int) -> TokenLogprob:
    """A token's log-probability under these logits, and those of the `n_top` likeliest."""
    values = torch.log_softmax(wide(logits), -1)
    top = values.topk(min(n_top, len(values)))
    return TokenLogprob(token, float(values[token]), tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True)))
