"""Weights: how much of each matrix that writes to the residual stream lies along a direction, against random directions.

Projecting r̂ out of these matrices ("abliteration") leaves r̂ᵀW = 0. Any direction has some length ‖rᵀW‖; whether that of r̂ is unusually
small is told by random ones, matrix by matrix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rhat.errors import DirectionError
from rhat.model.chat import ChatModel
from rhat.model.layout import is_projection
from rhat.reprs import one_line

Writes = Literal["embedding", "attention", "mlp", "other"]
HALF = 0.5  # of the smallest random length: below it a matrix counts as low
QUARTER = 0.25  # of all matrices: from so many low ones on a direction counts as removed
AT_ONCE = 4096  # rows or inputs that are multiplied at once

# What writes, where the width of a matrix does not tell: the last map of an MLP, of experts or of a mixer without heads.
OUTPUT = re.compile(
    r"(^|[._])(down|c_proj|fc2|fc_out|fc_o|dense_4h_to_h|w2|wo|o_proj|out_proj|output_linear|out|proj_out|output)(_proj)?\d*$"
)


@dataclass(frozen=True, eq=False)
class Lengths:
    """One matrix and the lengths of directions in it.

    writes   what it is
    layer    its block; None: the embedding
    name     of the module or parameter
    length   ‖rᵀW‖ of each direction that was asked about
    randoms  ‖uᵀW‖ of random unit directions
    """

    writes: Writes
    layer: int | None
    name: str
    length: Float[Tensor, " directions"]
    randoms: Float[Tensor, " randoms"]

    __repr__ = one_line

    @property
    def ratios(self) -> list[float]:
        """Each length over the median of the random ones; 0 where W is nothing but zeros."""
        middle = float(self.randoms.median())
        return [float(one) / middle if middle else 0.0 for one in self.length]

    @property
    def least(self) -> float:
        """The smallest random length over their median."""
        middle = float(self.randoms.median())
        return float(self.randoms.min()) / middle if middle else 0.0

    @property
    def low(self) -> list[bool]:
        """Whether each length is below half of the smallest random one.

        A direction that has nothing to do with W is the smallest of n + 1 alike with a chance of 1 / (n + 1), and below half of the
        second smallest less often still.
        """
        return [bool(one < HALF * self.randoms.min()) for one in self.length]


@dataclass(frozen=True, eq=False)
class _Writer:
    """A matrix W whose outputs are added to the stream; `transposed(v)` is vᵀW for rows v, float32, piece by piece over its inputs."""

    writes: Writes
    layer: int | None
    name: str
    times: Callable[[Tensor], Iterator[Tensor]]


def is_removed(low: int, matrices: int) -> bool:
    """Whether so many low matrices of all mean that a direction was removed: a quarter of them at least."""
    return matrices > 0 and low >= QUARTER * matrices


def false_rate(randoms: int) -> float:
    """The chance, at most, that a direction that has nothing to do with the weights counts as removed.

    Each matrix is low with a chance of at most 1 / (randoms + 1), so by Markov's inequality a quarter of them are with at most four
    times that, however the matrices depend on each other.
    """
    return min(1.0, 1 / QUARTER / (randoms + 1))


def lengths(
    model: ChatModel,
    directions: Float[Tensor, "directions d_model"],
    *,
    randoms: int = 400,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Lengths], list[str]]:
    """Lengths of unit directions, and of random ones, in every matrix that writes to the residual stream; and what could not be read.

    The embedding, the output projection of each attention, the last matrix of each MLP (of every expert together), and of a third part
    where blocks have one. Biases and the gains of norms that follow are left out. Weights that are not plain numbers (quantised, or
    on disk) are read through their module. float32 products, the same random directions in every matrix.

    Raises:
        DirectionError: if the directions are not as wide as the model.
    """
    if directions.shape[-1] != model.d_model:
        raise DirectionError(f"directions of width {directions.shape[-1]}: {model.name} has {model.d_model}")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(randoms, model.d_model, generator=generator, dtype=torch.float64)
    rows = torch.cat([directions.double().cpu(), drawn])
    rows = (rows / rows.norm(dim=1, keepdim=True)).float()
    found: list[Lengths] = []
    writers, unread = _writers(model)
    for done, writer in enumerate(writers):
        try:
            squares = torch.zeros(len(rows), dtype=torch.float64)
            for part in writer.times(rows):
                squares += part.double().square().sum(1).cpu()
        except (RuntimeError, TypeError, ValueError, NotImplementedError, AttributeError) as error:
            unread.append(f"{writer.name} ({' '.join(str(error).split())[:80]})")
            continue
        length, cut = squares.sqrt(), len(directions)
        found.append(Lengths(writer.writes, writer.layer, writer.name, length[:cut], length[cut:]))
        if progress is not None:
            progress(done + 1, len(writers))
    return found, unread


def _writers(model: ChatModel) -> tuple[list[_Writer], list[str]]:
    """Every matrix that writes, the embedding first; and the parts in which none was found."""
    names = {module: name for name, module in model.hf.named_modules()}
    embedding = model.hf.get_input_embeddings()
    found, unread = [], []
    if getattr(embedding, "weight", None) is not None and embedding.weight.shape[-1] == model.d_model:
        found.append(_of_module("embedding", None, names[embedding], embedding, model.d_model))
    else:
        unread.append("the embedding, which is narrower than the stream")
    for layer, parts in enumerate(model.layout.parts):
        by_kind: dict[Writes, list[_Writer]] = {"attention": [], "mlp": [], "other": []}
        inside_mixer = set(parts.attention.modules()) if parts.attention is not None else set()
        inside_other = set(parts.other_out.modules()) if parts.other_out is not None else set()
        if parts.attn_proj is not None:
            one = _of_module("attention", layer, names[parts.attn_proj], parts.attn_proj, model.d_model)
            by_kind["attention"].append(one)
        for module in parts.block.modules():
            kind: Writes = "attention" if module in inside_mixer else "other" if module in inside_other else "mlp"
            if kind == "attention" and parts.attn_proj is not None:
                continue
            by_kind[kind] += _inside(module, kind, layer, names[module], model.d_model)
        for kind, some in by_kind.items():
            found += some
            if not some and kind != "other" and not (kind == "attention" and parts.attention is None):
                unread.append(f"the {kind} of layer {layer}")
    return found, unread


def _inside(module: nn.Module, kind: Writes, layer: int, name: str, d_model: int) -> Iterator[_Writer]:
    """The matrix of a linear map that writes, or the fused matrices of experts; a module's children are asked by themselves."""
    if is_projection(module):
        into, out = _shape(module)
        if out == d_model and (into != d_model or OUTPUT.search(name)):
            yield _of_module(kind, layer, name, module, d_model)
        return
    for own, parameter in module.named_parameters(recurse=False):
        if parameter.ndim == 3 and OUTPUT.search(own) and d_model in parameter.shape[1:]:
            yield _Writer(kind, layer, f"{name}.{own}", _experts(parameter, d_model))


def _shape(module: Any) -> tuple[int, int]:
    """Inputs and outputs of a linear map."""
    if hasattr(module, "in_features"):
        return int(module.in_features), int(module.out_features)
    return int(module.weight.shape[0]), int(module.weight.shape[1])  # Conv1D


def _of_module(kind: Writes, layer: int | None, name: str, module: Any, d_model: int) -> _Writer:
    """The matrix of an embedding or a linear map: its numbers, or, where they cannot be read, what it makes of unit vectors."""
    weight = module.weight
    plain = type(weight) in (nn.Parameter, Tensor) and weight.is_floating_point() and weight.device.type != "meta"
    if plain and weight.ndim == 2 and weight.element_size() > 1:
        outputs_first = hasattr(module, "in_features")

        def times(rows: Tensor) -> Iterator[Tensor]:
            matrix = weight.detach() if outputs_first else weight.detach().T  # [d_model, inputs]
            for piece in matrix.split(AT_ONCE, dim=1):
                yield rows.to(matrix.device) @ piece.float()
    else:

        def times(rows: Tensor) -> Iterator[Tensor]:
            yield from _through(module, rows)

    return _Writer(kind, layer, name, times)


def _through(module: Any, rows: Tensor) -> Iterator[Tensor]:
    """rᵀW of a linear map by what it makes of each unit vector less its bias, or of each token, so that its storage does not matter."""
    hook = getattr(module, "_hf_hook", None)
    device = torch.device(getattr(hook, "execution_device", None) or module.weight.device)
    with torch.no_grad():
        if isinstance(module, nn.Embedding):
            for ids in torch.arange(module.num_embeddings, device=device).split(AT_ONCE):
                out = module(ids)
                yield rows.to(out.device) @ out.float().T
            return
        into = _shape(module)[0]
        plain = module.weight.is_floating_point() and module.weight.element_size() > 1
        dtype = module.weight.dtype if plain else getattr(module, "compute_dtype", None) or torch.float32
        for at in torch.arange(into, device=device).split(512):
            unit = torch.zeros(len(at) + 1, into, device=device, dtype=dtype)
            unit[torch.arange(len(at)), at] = 1.0
            out = module(unit)  # its last row is the bias
            yield rows.to(out.device) @ (out[:-1].float() - out[-1:].float()).T


def _experts(parameter: Tensor, d_model: int) -> Callable[[Tensor], Iterator[Tensor]]:
    """Fused matrices of experts, [expert, d_model, inputs] or the other way round, all together."""
    last = parameter.shape[-1] == d_model

    def times(rows: Tensor) -> Iterator[Tensor]:
        for one in parameter.detach():
            yield rows.to(one.device) @ (one.T if last else one).float()

    return times
