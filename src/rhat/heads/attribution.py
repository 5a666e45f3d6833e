"""What each attention head contributes to the gap in projection between harmful and harmless prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.capture import Moments, captured
from rhat.directions import Direction
from rhat.errors import ModelError, SiteError
from rhat.model.chat import ChatModel
from rhat.model.template import ChatPrompt
from rhat.reprs import one_line
from rhat.sites import Site

Head = tuple[int, int]
"""A query head: its layer and its number, both counted from 0."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """Mean outputs of heads at the last prompt token, and what they write along r̂.

    contributions  [layer, head], residual-stream units: (mean harmful − mean harmless) head output, through its part of the
                   output projection, along r̂. Layers at or above r̂'s cannot write to it and are not in it; a layer
                   without attention heads is 0
    harmful        mean head outputs over harmful prompts, [layer, head, head_dim], float64: what is patched in
    layers         those of them that have attention heads
    """

    contributions: Float[Tensor, "layer head"]
    harmful: Float[Tensor, "layer head head_dim"]
    position: int
    layers: tuple[int, ...]

    __repr__ = one_line

    def __post_init__(self) -> None:
        if not bool(self.contributions.isfinite().all() and self.harmful.isfinite().all()):
            raise ModelError(
                "heads: got outputs or contributions that are not finite, expected numbers; load the model with a wider "
                "dtype, or check its weights"
            )

    def ranking(self) -> list[tuple[Head, float]]:
        """Heads by contribution, largest first."""
        order = self.contributions.flatten().argsort(descending=True)
        n_heads = self.contributions.shape[1]
        ranked = [((int(i) // n_heads, int(i) % n_heads), float(self.contributions.flatten()[i])) for i in order]
        return [(head, value) for head, value in ranked if head[0] in self.layers]


def output_weight(model: ChatModel, layer: int) -> Float[Tensor, "d_model width"]:
    """The attention output projection of a layer as a matrix from head values to the residual stream.

    Where its weights are packed, or on disk, it is found by running the projection on unit vectors.

    Raises:
        SiteError: if the layer has no such projection.
    """
    projection = model.layout.parts[layer].attn_proj
    if projection is None:
        raise SiteError(f"head_out.{layer}: this layer has no output projection of attention heads; take another layer")
    weight = getattr(projection, "weight", None)
    if type(weight) is torch.nn.Parameter and weight.is_floating_point() and weight.device.type != "meta":
        return weight if type(projection).__name__ != "Conv1D" else weight.T
    width = model.layout.n_heads * model.layout.head_dim
    units = torch.eye(width, dtype=model.dtype, device=model.device)
    with torch.no_grad():
        written: Tensor = projection(units[None])[0]
        bias: Tensor = projection(torch.zeros_like(units[None, :1]))[0]
        return (written - bias).T


def attribute(
    model: ChatModel,
    direction: Direction,
    harmful: Sequence[ChatPrompt],
    harmless: Sequence[ChatPrompt],
    *,
    position: int = -1,
    progress: Callable[[int, int], None] | None = None,
) -> Attribution:
    """Attribute the gap in projection on r̂ to the heads below its layer, at one prompt position.

    In blocks that normalise the attention output before adding it, the heads' sum is scaled there; the attribution is of
    what heads write before that.

    Raises:
        SiteError: if there is no head below the direction's layer.
    """
    if direction.layer == 0:
        raise SiteError("heads: the direction is at resid_pre.0, below which no head writes; take a later layer")
    layers = tuple(layer for layer in model.layout.with_heads if layer < direction.layer)
    if not layers:
        raise SiteError(
            f"heads: no block below {direction.site} has attention heads that can be read; `rhat check MODEL` shows which have"
        )
    sites = [Site("head_out", layer) for layer in layers]
    n_heads, head_dim = model.layout.n_heads, model.layout.head_dim
    sides = []
    for index, prompts in enumerate((harmful, harmless)):
        parts = [
            Moments.of(torch.stack([found[site][:, 0].cpu() for site in sites], 1))
            for _, found in captured(model, model.plan(prompts), sites, [position])
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        sides.append(total.mean.reshape(len(sites), n_heads, -1))
        if progress:
            progress(index + 1, 2)
    unit = direction.unit.double()
    contributions = torch.zeros(direction.layer, n_heads, dtype=torch.float64)
    outputs = torch.zeros(direction.layer, n_heads, head_dim, dtype=torch.float64)
    for layer, gap, mean in zip(layers, sides[0] - sides[1], sides[0], strict=True):
        written = unit @ output_weight(model, layer).cpu().double() * model.layout.parts[layer].scale("attn_out")
        contributions[layer] = (gap * written.reshape(n_heads, -1)).sum(-1)
        outputs[layer] = mean
    return Attribution(contributions, outputs, position, layers)
