"""The plain path: whole prompts, left padding with a mask, every position's logits, nothing shared.

The reference for the fast path, and the way for models that it does not suit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.model.decoder import Decoder
from rhat.model.edits import Edits
from rhat.model.passes import run_model
from rhat.model.plans import Plan, TokenIds
from rhat.model.positions import TokenContext
from rhat.model.tap import declared, tap


def left_padded(
    model: Decoder,
    prompts: Sequence[TokenIds],
    rows: Tensor,
    prompt_lengths: Tensor | None = None,
    template_lengths: Tensor | int | None = None,
) -> tuple[Tensor, Tensor, TokenContext]:
    """Ids, mask and token context of prompts padded on the left, as transformers' generate wants them.

    Where a prompt goes on with other tokens `prompt_lengths` says how long each is; `template_lengths`, on the CPU, how many
    of its last tokens the template gives, where the model's own template does not say.
    """
    longest = max(len(p) for p in prompts)
    ids = torch.full((len(prompts), longest), model.pad_id, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, longest - len(prompt) :] = torch.tensor(list(prompt))
        mask[i, longest - len(prompt) :] = 1
    template_lengths = model.template_length if template_lengths is None else template_lengths
    lengths = mask.sum(-1) if prompt_lengths is None else prompt_lengths
    context = TokenContext.for_left_padded(mask, lengths, template_lengths, rows.cpu()).to(model.device)
    return ids.to(model.device), mask.to(model.device), context


def plain_forward(
    model: Decoder,
    prompts: Sequence[TokenIds],
    rows: Tensor,
    edits: Edits | None = None,
    prompt_lengths: Tensor | None = None,
) -> Float[Tensor, "rows vocab"]:
    """One plain forward pass of whole sequences; the logits after each one's last token."""
    if len({len(p) for p in prompts}) > 1 and not model.supports_padding:
        lengths = torch.tensor([len(p) for p in prompts]) if prompt_lengths is None else prompt_lengths
        return torch.cat(
            [plain_forward(model, [p], rows[i : i + 1], edits, lengths[i : i + 1]) for i, p in enumerate(prompts)]
        )
    return plain_last_positions(model, *left_padded(model, prompts, rows, prompt_lengths), edits)[:, -1]


def plain_last_positions(
    model: Decoder, ids: Tensor, mask: Tensor, context: TokenContext, edits: Edits | None, last: int = 1
) -> Float[Tensor, "rows last vocab"]:
    """Logits of every row's last positions, from every position's."""
    with torch.no_grad(), declared(context), tap(model, edits or {}):
        logits: Tensor = run_model(model, ids, mask, context).logits
    return logits[:, -last:].clone()


def plain_last_logits(
    model: Decoder, plan: Plan, edits: Edits | None = None
) -> Iterator[tuple[Int[Tensor, " rows"], Float[Tensor, "rows vocab"]]]:
    """The same by the plain path: whole prompts, left padding with a mask, every position's logits.

    One prompt at a time where the model does not take padding.
    """
    for batch in plan.batches:
        for rows in batch.rows.split(1) if batch.context.padded and not model.supports_padding else (batch.rows,):
            yield rows, plain_forward(model, [plan.prompts[i] for i in rows.tolist()], rows, edits)
