"""A pass of the model through which gradients flow: whole sequences padded on the left, weights frozen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rhat.model.chat import ChatModel
from rhat.model.edits import Edits
from rhat.model.passes import lm_head, run_model
from rhat.model.plain import left_padded
from rhat.model.plans import TokenIds
from rhat.model.tap import declared, tap


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No weight asks for a gradient inside; leaving restores what each asked for."""
    asked = [p for p in module.parameters() if p.requires_grad]
    for parameter in asked:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)


def log_probabilities(
    model: ChatModel, said: Sequence[tuple[TokenIds, TokenIds]], edits: Edits
) -> list[Float[Tensor, "token vocab"]]:
    """Log-probabilities (nats) of the next token at each place of what follows each prompt, under edits.

    Row t of an entry is before token t of what is said. They are float32, or float64 of a float64 model, and keep the graph
    where gradients are on and an edit asks for one.
    """
    if len({len(p) + len(s) for p, s in said}) > 1 and not model.supports_padding:
        return [found for one in said for found in log_probabilities(model, [one], edits)]
    whole = [(*prompt, *tokens[:-1]) for prompt, tokens in said]
    lengths = torch.tensor([len(prompt) for prompt, _ in said])
    ids, mask, context = left_padded(model, whole, torch.arange(len(said)), lengths)
    with declared(context), tap(model, edits):
        hidden = run_model(model, ids, mask, context, bare=True)[0]
    rows = torch.cat([hidden[i, -len(tokens) :] for i, (_, tokens) in enumerate(said)])
    logits = lm_head(model, rows)
    exact = logits if logits.dtype == torch.float64 else logits.float()
    return list(exact.log_softmax(-1).split([len(tokens) for _, tokens in said]))
