"""Reading prompts: the log-probability of every token given those before it, under edits, without generating."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.errors import PromptError
from rhat.generation.rows import TokenLogprob
from rhat.model.chat import ChatModel
from rhat.model.decoder import slow
from rhat.model.edits import Edits
from rhat.model.finite import faulty
from rhat.model.origin import not_finite
from rhat.model.passes import lm_head, run_tokens
from rhat.model.plain import left_padded, plain_last_positions
from rhat.model.plans import TokenIds
from rhat.model.precision import wide

AT_ONCE = 64  # positions that meet the vocabulary at once, so that memory does not grow with the prompt


def prompt_logprobs(
    model: ChatModel, prompts: Sequence[TokenIds], n_top: int = 0, edits: Edits | None = None
) -> list[tuple[TokenLogprob, ...]]:
    """For each prompt, the log-probability of its second token and of all that follow, in nats, with the `n_top` likeliest.

    A prompt of n tokens gives n − 1: nothing comes before the first. The model's own distribution (temperature 1) under
    `edits`, its softmax in float64. Prompts count as having no chat template, so scopes of template tokens hold none.

    Raises:
        PromptError: if a prompt has no tokens.
        NonFiniteError: if logits are no distribution.
    """
    if any(not prompt for prompt in prompts):
        raise PromptError("prompt of 0 tokens: expected at least one")
    found: list[tuple[TokenLogprob, ...]] = [()] * len(prompts)
    long = [i for i, prompt in enumerate(prompts) if len(prompt) > 1]
    run = _plain if slow() or not model.fast else _fast
    if long:
        for number, logits in run(model, [prompts[i] for i in long], edits or {}):
            tokens = prompts[long[number]]
            noted: list[TokenLogprob] = []
            for at, some in logits:
                if bool(faulty(some).any()):
                    raise not_finite(
                        model, tokens, edits or {}, row=number, prompt_length=len(tokens), template_length=0
                    )
                noted += _noted(some, torch.tensor(tokens[at + 1 : at + 1 + len(some)]), n_top)
            found[long[number]] = tuple(noted)
    return found


Logits = Iterator[tuple[int, Float[Tensor, "some vocab"]]]
"""Logits after a prompt's tokens, all but the last, some at a time: (the first one's position, the logits)."""


def _fast(model: ChatModel, prompts: Sequence[TokenIds], edits: Edits) -> Iterator[tuple[int, Logits]]:
    for batch in model.lay_out(prompts, 0, share_prefix=False).batches:
        hidden = run_tokens(model, batch.ids, batch.context, edits).hidden

        def logits(own: Float[Tensor, "seq d_model"]) -> Logits:
            for at in range(0, len(own), AT_ONCE):
                with torch.no_grad():
                    yield at, lm_head(model, own[at : at + AT_ONCE])

        for row, number in enumerate(batch.rows.tolist()):
            yield number, logits(hidden[row, : len(prompts[number]) - 1])


def _plain(model: ChatModel, prompts: Sequence[TokenIds], edits: Edits) -> Iterator[tuple[int, Logits]]:
    for number, prompt in enumerate(prompts):
        given = left_padded(model, [prompt], torch.tensor([number]), template_lengths=0)
        yield number, iter([(0, plain_last_positions(model, *given, edits, len(prompt))[0, :-1])])


def _noted(logits: Float[Tensor, "some vocab"], tokens: Int[Tensor, " some"], n_top: int) -> list[TokenLogprob]:
    values = torch.log_softmax(wide(logits), -1)
    own = values.gather(1, tokens.to(values.device)[:, None])[:, 0].tolist()
    top = values.topk(min(n_top, values.shape[-1]), -1)
    return [
        TokenLogprob(token, value, tuple(zip(ids, likeliest, strict=True)))
        for token, value, ids, likeliest in zip(
            tokens.tolist(), own, top.indices.tolist(), top.values.tolist(), strict=True
        )
    ]
