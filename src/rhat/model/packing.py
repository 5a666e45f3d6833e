"""MLPs that run the tokens that matter only: they take each token by itself, and do most of a block's work.

Padding matters nowhere. In the last block only the tokens matter whose hidden states are wanted: keys and values of the
others are made before its MLP.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from rhat.model.layout import Layout, is_projection
from rhat.model.positions import TokenContext
from rhat.model.precision import wide
from rhat.model.replacing import replaced

LEAST_PADDING = 0.03  # share of padding from which leaving it out is worth the copies
ROWS = 16  # products take tokens in multiples of this: with an odd number oneDNN's bfloat16 takes longer


@contextmanager
def packed(
    mlps: Sequence[nn.Module],
    context: TokenContext | None,
    last: Sequence[nn.Module] = (),
    ends: Int[Tensor, " ends"] | None = None,
) -> Iterator[None]:
    """Let these modules see the real tokens of the batch alone, as one row; elsewhere they give zeros.

    Those in `last` see each row's token number `ends` alone, counted from 1; no `ends` is no token.
    """
    if context is None:
        yield
        return
    chosen: list[tuple[nn.Module, Int[Tensor, " some"]]] = []
    if ends is not None and last:
        width = context.positions.shape[1]
        at = torch.arange(len(ends), device=ends.device) * width + ends - 1
        chosen += [(mlp, at) for mlp in last]
    rest = [mlp for mlp in mlps if all(mlp is not done for done, _ in chosen)]
    if rest and context.padded and _worth_it(context):
        chosen += [(mlp, context.places) for mlp in rest]
    with ExitStack() as stack:
        for mlp, at in chosen:
            stack.enter_context(replaced(mlp, _of_some(mlp.forward, at)))
        yield


def _of_some(forward: Any, at: Int[Tensor, " some"]) -> Any:
    """A module's forward that runs the tokens `at` of the batch alone."""
    n = len(at)
    filled = torch.cat([at, at[-1:].expand(-n % ROWS)])  # the last token, a few times more

    def run(hidden_states: Tensor) -> Tensor:
        flat = hidden_states.reshape(-1, hidden_states.shape[-1])
        if not n:
            return torch.zeros_like(hidden_states)
        which = filled.to(flat.device)
        done = forward(flat.index_select(0, which)[None])[0, :n]
        whole = flat.new_zeros(len(flat), done.shape[-1]).index_copy_(0, which[:n], done)
        return whole.view(*hidden_states.shape[:-1], -1)

    return run


def _worth_it(context: TokenContext) -> bool:
    return context.share_real <= 1 - LEAST_PADDING


def tokens_run(context: TokenContext) -> int:
    """How many tokens of a padded batch such an MLP is given."""
    n = context.real.numel()
    return _filled(round(context.share_real * n)) if _worth_it(context) else n


def ends_run(ends: Int[Tensor, " ends"]) -> int:
    """How many tokens an MLP of the last block is given where only these ends are wanted."""
    return _filled(len(ends))


def _filled(n: int) -> int:
    return -(-n // ROWS) * ROWS


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
    return float(wide(whole[:, some] - alone).norm()) <= limit * float(wide(alone).norm())
