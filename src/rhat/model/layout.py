"""The layout of a decoder: its blocks, and what in each of them reads from and writes to the residual stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from rhat.reprs import one_line
from rhat.sites import Kind

Sum = Literal["pre-norm", "post-norm", "unaccounted"]
ADDED: tuple[Kind, ...] = ("attn_out", "mlp_out", "other_out")  # what a block adds to the stream, where it can be named


@dataclass(frozen=True, eq=False)
class BlockParts:
    """The modules of one block whose inputs or outputs are sites. None: this block has no such part.

    sum     how the parts make up the block, proved by a run. "pre-norm": carry · resid_pre + attn_out + mlp_out +
            other_out = resid_post; "post-norm": the same with a norm after each addition; "unaccounted": neither, so that
            these are not sites of this block
    error   the relative error of that sum in the probe run
    scales  which multiple of the outputs of attn_out, mlp_out and other_out the block adds; 1 in nearly every family
    carry   which multiple of its input it adds them to; 1 in nearly every family
    """

    block: nn.Module
    attention: nn.Module | None
    attn_proj: nn.Module | None
    attn_out: nn.Module | None
    mlp_out: nn.Module | None
    other_out: nn.Module | None
    names: tuple[str, str, str, str]  # of attn_proj, attn_out, mlp_out, other_out inside the block; "" where absent
    sum: Sum = "pre-norm"
    error: float = 0.0
    scales: tuple[float, float, float] = (1.0, 1.0, 1.0)
    carry: float = 1.0

    def module(self, kind: Kind) -> nn.Module | None:
        """The module that a site of this kind hangs on; None if the block has none."""
        if kind in ("resid_pre", "resid_post"):
            return self.block
        return self.attn_proj if kind == "head_out" else getattr(self, kind)

    def scale(self, kind: Kind) -> float:
        """Which multiple of that module's output, or input, the site is."""
        return self.scales[ADDED.index(kind)] if kind in ADDED else 1.0

    @property
    def writes(self) -> tuple[Kind, ...]:
        """The sites of this block at which a direction must be removed so that its output holds none of it.

        Its input and all that it adds, where that is known. A norm after an addition may bring the direction back, so
        where there are such norms the output too; where the parts cannot be named, input and output.
        """
        if self.sum == "unaccounted":
            return ("resid_pre", "resid_post")
        added = tuple(kind for kind in ADDED if self.module(kind) is not None)
        return ("resid_pre", *added, *(("resid_post",) if self.sum == "post-norm" else ()))


@dataclass(frozen=True, eq=False)
class Layout:
    """The parts of a decoder that rhat reads and edits.

    head_dim is the width of one head's output, the width of the output projection's input over the number of heads.
    residual_error is the largest relative error, over blocks, of their parts' sum in the probe run that proved the layout.
    """

    base: nn.Module
    base_name: str
    blocks_name: str
    parts: tuple[BlockParts, ...]
    n_layers: int
    d_model: int
    n_heads: int
    head_dim: int
    residual_error: float
    tuple_output: bool  # whether a block returns a tuple with the hidden states first

    __repr__ = one_line

    @property
    def ablation(self) -> str:
        """What ablation "at all layers" acts on: "all layers", and where it cannot reach inside the blocks."""
        said = ["all layers"]
        blind = [i for i, parts in enumerate(self.parts) if parts.sum == "unaccounted"]
        if blind:
            said.append(
                f"in {span(blind)} only at the block's input and output, so that r̂ may be written again inside it"
            )
        normed = [i for i, parts in enumerate(self.parts) if parts.sum == "post-norm"]
        if normed:
            said.append(f"in {span(normed)} norms after the additions may bring r̂ back inside the block")
        return "; ".join(said)

    @property
    def with_heads(self) -> tuple[int, ...]:
        """The layers whose attention heads can be read and edited."""
        return tuple(i for i, parts in enumerate(self.parts) if parts.attn_proj is not None)

    @property
    def limits(self) -> str:
        """What cannot be done on this model, in one line; empty where everything can."""
        said = [] if self.ablation == "all layers" else [f"ablation acts at {self.ablation}"]
        without = [i for i in range(self.n_layers) if i not in self.with_heads]
        if without:
            said.append(f"no attention heads can be read in {span(without)}")
        return "; ".join(said)


def span(layers: Iterable[int]) -> str:
    """Layers as text: layers 0–3, 5."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    text = ", ".join(f"{a}–{b}" if b > a else str(a) for a, b in runs)
    return f"layer {text}" if len(runs) == 1 and runs[0][0] == runs[0][1] else f"layers {text}"


def first_tensor(output: Any) -> Tensor:
    """The hidden states of a module's output: itself, or the first element of a tuple."""
    hidden: Tensor = output[0] if isinstance(output, (tuple, list)) else output
    return hidden


def is_projection(module: nn.Module) -> bool:
    """Whether `module` is linear-like: a leaf with a weight matrix (nn.Linear, Conv1D, a quantised linear)."""
    weight = getattr(module, "weight", None)
    if weight is None or isinstance(module, nn.Embedding) or next(module.children(), None) is not None:
        return False
    return "linear" in type(module).__name__.lower() or "conv1d" in type(module).__name__.lower()


def text_config(hf: Any) -> Any:
    """The configuration of the text decoder (of a multimodal model: its text part)."""
    config = hf.config
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
