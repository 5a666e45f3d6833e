"""MLPs that run the real tokens of a padded batch only: they take each token by itself, and do most of a block's work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rhat.model.layout import Layout, is_projection
from rhat.model.positions import TokenContext
from rhat.model.replacing import replaced

LEAST_PADDING = 0.03  # share of padding from which leaving it out is worth the copies
ROWS = 16  # products take tokens in multiples of this: with an odd number oneDNN's bfloat16 takes longer


@contextmanager
def packed(mlps: Sequence[nn.Module], context: TokenContext | None) -> Iterator[None]:
    """Let these modules see the real tokens of the batch alone, as one row; at padding they give zeros."""
    if not mlps or context is None or not _worth_it(context):
        yield
        return
    real = context.real.flatten().nonzero()[:, 0]
    n = len(real)
    filled = torch.cat([real, real[-1:].expand(-n % ROWS)])  # the last token, a few times more

    def around(forward: Any) -> Any:
        def run(hidden_states: Tensor) -> Tensor:
            at = filled.to(hidden_states.device)
            flat = hidden_states.reshape(-1, hidden_states.shape[-1])
            done = forward(flat.index_select(0, at)[None])[0, :n]
            whole = flat.new_zeros(len(flat), done.shape[-1]).index_copy_(0, at[:n], done)
            return whole.view(*hidden_states.shape[:-1], -1)

        return run

    with ExitStack() as stack:
        for mlp in mlps:
            stack.enter_context(replaced(mlp, around(mlp.forward)))
        yield


def _worth_it(context: TokenContext) -> bool:
    return float(context.real.double().mean()) <= 1 - LEAST_PADDING


def tokens_run(context: TokenContext) -> int:
    """How many tokens of a padded batch such an MLP is given."""
    return -(-int(context.real.sum()) // ROWS) * ROWS if _worth_it(context) else context.real.numel()


def tokenwise_mlps(layout: Layout) -> tuple[nn.Module, ...]:
    """The blocks' MLPs, where they take hidden states alone and each token by itself; tried on one of each class.

    An MLP is the child of a block, other than its mixer, that holds two linear maps or more and no experts. Where a site
    lies inside it, it is left out, for the site must see every token.
    """
    found, suits = [], dict[type, bool]()
    for parts in layout.parts:
        for module in parts.block.children():
            inside = list(module.modules())
            if module is parts.attention or sum(map(is_projection, inside)) < 2:
                continue
            if any("expert" in name.lower() for name, _ in module.named_modules()):
                continue
            if any(site in inside[1:] for site in (parts.attn_proj, parts.attn_out, parts.mlp_out, parts.other_out)):
                continue
            kind = type(module)
            if kind not in suits:
                suits[kind] = _takes_each_alone(module, layout.d_model)
            if suits[kind]:
                found.append(module)
    return tuple(found)


def _takes_each_alone(module: nn.Module, d_model: int) -> bool:
    """Whether a module gives each token the same, whatever stands beside it."""
    weight = next((p for p in module.parameters() if p.is_floating_point()), None)
    if weight is None:
        return False
    device = "cpu" if weight.device.type == "meta" else weight.device
    x = torch.randn(1, 5, d_model, generator=torch.Generator().manual_seed(0)).to(device, weight.dtype)
    some = [1, 3, 4]
    try:
        with torch.no_grad():
            whole, alone = module.forward(x), module.forward(x[:, some])
    except Exception:  # it wants more than hidden states, or another shape
        return False
    if not (isinstance(whole, Tensor) and isinstance(alone, Tensor) and whole.shape == x.shape):
        return False
    limit = max(1e-9, 8 * torch.finfo(whole.dtype).eps)
    return float((whole[:, some] - alone).double().norm()) <= limit * float(alone.double().norm())
