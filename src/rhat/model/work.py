"""The ledger of work: tokens through blocks, tokens through the vocabulary, and the arithmetic of both.

Whoever opens a ledger (`counting`) has every pass inside it counted; without one, nothing is. It counts what is computed,
padding included where that is run, and says nothing of how long it took.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch import nn

from rhat.model.layout import Layout, is_projection
from rhat.model.packing import ends_run, tokens_run

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

    from rhat.model.decoder import Decoder
    from rhat.model.positions import TokenContext


@dataclass(frozen=True)
class Work:
    """What was computed.

    block_passes       how often a block was run on several tokens a row: a pass through 24 blocks counts 24
    block_tokens       tokens that these passes took through a block, padding included: 10 tokens through 24 blocks count 240
    block_steps        the same passes of one token a row, as decoding takes them; `block_step_tokens`: their tokens
    vocabulary_passes  how often the head was run; `vocabulary_tokens`: hidden states that met the vocabulary
    flop               floating-point operations of the matrix products, two for each multiplication
    """

    block_passes: int = 0
    block_tokens: int = 0
    block_steps: int = 0
    block_step_tokens: int = 0
    vocabulary_passes: int = 0
    vocabulary_tokens: int = 0
    flop: int = 0

    def __add__(self, other: Work) -> Work:
        mine, theirs = asdict(self), asdict(other)
        return Work(**{name: mine[name] + theirs[name] for name in mine})

    def __sub__(self, other: Work) -> Work:
        mine, theirs = asdict(self), asdict(other)
        return Work(**{name: mine[name] - theirs[name] for name in mine})

    def times(self, n: float) -> Work:
        """The same `n` times, to whole numbers."""
        return Work(**{name: round(value * n) for name, value in asdict(self).items()})

    def said(self) -> dict[str, int | float]:
        """What results.json says of it; nothing where nothing was computed."""
        if self == Work():
            return {}
        return {
            "block_tokens": self.block_tokens + self.block_step_tokens,
            "vocabulary_tokens": self.vocabulary_tokens,
            "decode_steps": self.block_steps,
            "gflop": round(self.flop / 1e9, 3),
        }


class Ledger:
    """What was computed since it was opened; the ledger `around` it counts that too."""

    def __init__(self, around: Ledger | None = None) -> None:
        self.total, self.around = Work(), around

    def add(self, work: Work) -> None:
        """Count this."""
        self.total += work
        if self.around is not None:
            self.around.add(work)


_OPEN: ContextVar[Ledger | None] = ContextVar("ledger", default=None)


@contextmanager
def counting(apart: bool = False) -> Iterator[Ledger]:
    """A ledger of what is computed inside the `with`; the ledger around it counts that too, unless it is kept `apart`."""
    ledger = Ledger(None if apart else _OPEN.get())
    token = _OPEN.set(ledger)
    try:
        yield ledger
    finally:
        _OPEN.reset(token)


def add(work: Work) -> None:
    """Count what was computed elsewhere: in another process, or in an earlier run."""
    if (ledger := _OPEN.get()) is not None:
        ledger.add(work)


def so_far() -> Work:
    """What the open ledger holds; nothing where none is open."""
    ledger = _OPEN.get()
    return Work() if ledger is None else ledger.total


def note_blocks(
    model: Decoder,
    rows: int,
    tokens: int,
    keys: int,
    blocks: range,
    context: TokenContext | None = None,
    ends: Int[Tensor, " ends"] | None = None,
) -> None:
    """Count a pass of `rows` rows of `tokens` tokens each through some blocks, each token seeing up to `keys` keys.

    Where `context` says that MLPs are run without padding, or `ends` that the last block's runs these tokens alone, their
    products are counted so.
    """
    ledger = _OPEN.get()
    if ledger is None or not blocks:
        return
    packed = context is not None and context.padded and bool(model.tokenwise_mlps)
    in_mlps = tokens_run(context) if packed and context is not None else None
    at_ends = None if ends is None else ends_run(ends)
    ledger.add(work_of_blocks(model, rows, tokens, keys, blocks, in_mlps, at_ends))


def note_vocabulary(model: Decoder, n: int) -> None:
    """Count `n` hidden states that meet the vocabulary."""
    if (ledger := _OPEN.get()) is not None:
        ledger.add(work_of_vocabulary(model, n))


# The arithmetic, of what is done and of what will be


def work_of_blocks(
    model: Decoder,
    rows: int,
    tokens: int,
    keys: int,
    blocks: range,
    in_mlps: int | None = None,
    at_ends: int | None = None,
) -> Work:
    """The work of a pass of `rows` rows of `tokens` tokens each through some blocks, each token seeing up to `keys` keys;
    of `in_mlps` tokens in the MLPs, where these are not all, and of `at_ends` in the last block's."""
    n = rows * tokens
    alone = n if in_mlps is None else in_mlps
    products = _products(model.layout, model.text_config)[blocks.start : blocks.stop]
    flop = sum(2 * (product.mlp * alone + product.others * n) + 4 * product.width * n * keys for product in products)
    if at_ends is not None and products and blocks.stop == model.layout.n_layers and model.last_mlps:
        flop -= 2 * products[-1].mlp * (alone - at_ends)
    if tokens == 1:
        return Work(block_steps=len(blocks), block_step_tokens=n * len(blocks), flop=flop)
    return Work(block_passes=len(blocks), block_tokens=n * len(blocks), flop=flop)


def work_of_vocabulary(model: Decoder, n: int) -> Work:
    """The work of `n` hidden states that meet the vocabulary in one pass."""
    flop = 2 * n * model.d_model * int(model.text_config.vocab_size)
    return Work(vocabulary_passes=1, vocabulary_tokens=n, flop=flop)


# What a block multiplies


@dataclass(frozen=True)
class _Products:
    """Of one block: weights that one token meets in its MLP and elsewhere, and the width of what attention mixes."""

    mlp: int
    others: int
    width: int


_KNOWN: WeakKeyDictionary[Layout, tuple[_Products, ...]] = WeakKeyDictionary()


def _products(layout: Layout, config: Any) -> tuple[_Products, ...]:
    if layout not in _KNOWN:
        share = _share_of_experts(config)
        _KNOWN[layout] = tuple(_of_block(parts, share, layout) for parts in layout.parts)
    return _KNOWN[layout]


def _of_block(parts: Any, share: float, layout: Layout) -> _Products:
    mlp = others = 0
    attention = set() if parts.attention is None else set(parts.attention.modules())
    for name, module in parts.block.named_modules():
        size = _weights(module) * (share if "experts" in name and "shared" not in name else 1)
        if module in attention:
            others += round(size)
        else:
            mlp += round(size)
    return _Products(mlp, others, layout.n_heads * layout.head_dim if parts.attn_proj is not None else 0)


def _weights(module: nn.Module) -> int:
    """Weights of a module's own that a token is multiplied with, all experts of a stack counted."""
    if is_projection(module):
        sizes = getattr(module, "in_features", None), getattr(module, "out_features", None)
        if all(isinstance(size, int) for size in sizes):  # packed weights have fewer numbers than they stand for
            return int(sizes[0] * sizes[1])  # type: ignore[operator]
        return sum(p.numel() for p in module.parameters(recurse=False) if p.dim() > 1)
    return sum(p.numel() for p in module.parameters(recurse=False) if p.dim() == 3)


def _share_of_experts(config: Any) -> float:
    """The share of a block's experts that one token meets."""
    values: Mapping[str, Any] = config.to_dict()
    n = next((values[k] for k in ("num_local_experts", "num_experts", "n_routed_experts") if values.get(k)), None)
    chosen = next((values[k] for k in ("num_experts_per_tok", "top_k_experts", "moe_topk") if values.get(k)), None)
    return chosen / n if n and chosen else 1.0
