"""Which modules of a block add up to what it adds to the residual stream, found among the calls of one forward pass."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from rhat.errors import ModelError
from rhat.model.layout import BlockParts, Sum, is_projection
from rhat.model.precision import wide

# Exceptions to what is found by structure. A new family that needs one is one row.
RESIDUAL_SCALES = (  # attributes, of the block or of the configuration, that say which multiple of each part a block adds
    "residual_multiplier",  # Granite
    "residual_scale",  # MiniCPM3
)
MIXERS = (  # what blocks call the module that mixes tokens: the end of its name, the likeliest first
    "(?<!linear_)(?:attn|attention)",
    "linear_attn|mixer|mamba|conv|temporal_block",  # hybrids: blocks without softmax attention, and so without heads
)
MIXER = re.compile("|".join(MIXERS))
# Classes of a "mixer" that mixes no tokens (Nemotron-H).
NO_MIXER = re.compile(r"mlp|moe|feedforward|ffn", re.IGNORECASE)

TOLERANCE = 0.03  # the largest relative error with which parts still count as adding up (half precision rounds)
SNAP = (
    0.01  # how near a fitted multiple must be to a number that the block or its configuration holds to be that number
)
LEAST_CARRY = 0.05  # of the block's input in its output, below which there is no residual stream
MOST_TRIED = 48  # candidates for three parts: outermost first

Call = tuple[str, Tensor, Tensor]  # name of the module, its input and its output


@dataclass(frozen=True)
class _Found:
    """Names of the parts (attention, MLP, other; "" where there is none) and what multiplies them and the input."""

    names: tuple[str, str, str]
    scales: tuple[float, float, float]
    error: float
    law: Sum = "pre-norm"
    carry: float = 1.0


NOTHING = _Found(("", "", ""), (1.0, 1.0, 1.0), float("inf"), "unaccounted")


def residual_scale(block: nn.Module, config: Any) -> float:
    """Which multiple of each part's output a block adds, where a family says so by a known name; else 1."""
    return next((float(getattr(o, n)) for n in RESIDUAL_SCALES for o in (block, config) if hasattr(o, n)), 1.0)


def sum_error(resid_pre: Tensor, resid_post: Tensor, parts: Tensor, precision: float) -> float:
    """How far resid_pre + parts is from resid_post, relative to what was added, beyond what rounding explains; ∞ for NaN."""
    rounding = 2 * precision * (resid_pre.abs() + resid_post.abs() + parts.abs())
    excess = ((resid_pre + parts - resid_post).abs() - rounding).clamp_min(0)
    error = float(excess.norm() / (resid_post - resid_pre).norm().clamp_min(1e-12))
    return error if math.isfinite(error) else float("inf")


class _Record:
    """What the modules of one block were given and gave, in a run of a few tokens."""

    def __init__(self, block: nn.Module, calls: Sequence[Call], d_model: int, where: str) -> None:
        counts = Counter(name for name, _, _ in calls)
        if counts[""] > 1:
            raise ModelError(
                f"{where}: called {counts['']} times in one pass, so its layers are not the model's; "
                "rhat needs a decoder that runs each block once"
            )
        self.block = block
        self.calls = {name: (given, out) for name, given, out in calls if counts[name] == 1}  # serves twice: no site
        if "" not in self.calls:
            raise ModelError(
                f"{where}: the block was not called with hidden states; this architecture is not supported"
            )
        given, out = self.calls[""]
        self.d_model = d_model
        self.precision = torch.finfo(out.dtype).eps
        self.resid_pre, self.resid_post = (wide(x).reshape(-1, d_model) for x in (given, out))
        self.order = {name: index for index, name in enumerate(self.calls)}
        self.direct = [name for name, _ in block.named_children()]
        self.mixer = next((n for m in MIXERS for n in self.direct if n in self.calls and re.search(f"({m})$", n)), "")
        self.projection = self._projection() if self.mixer else ""

    def _projection(self) -> str:
        """The last linear map inside the mixer that gives the stream's width and does not take the mixer's own input."""
        heard = self.calls[self.mixer][0]  # what goes into queries, keys and values: not the heads' outputs
        inside = [
            n
            for n, (given, out) in self.calls.items()
            if n.startswith(self.mixer + ".")
            and out.shape[-1] == self.d_model
            and is_projection(self.block.get_submodule(n))
            and not (given.shape[-1] == heard.shape[-1] and torch.equal(given.flatten(), heard.flatten()))
        ]
        return inside[-1] if inside else ""

    def outputs(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Those outputs that could be added to the stream, [token, d_model], float64."""
        size = self.resid_pre.numel()
        return {
            n: wide(self.calls[n][1]).reshape(-1, self.d_model)
            for n in names
            if self.calls[n][1].shape[-1] == self.d_model and self.calls[n][1].numel() == size
        }

    def attention_side(self) -> list[str]:
        """The mixer and its output projection, outermost first."""
        return sorted({n for n in (self.mixer, self.projection) if n}, key=len)

    def norms_after(self) -> list[str]:
        """Norms of the block itself that ran after its mixer."""
        end = self.order[self.mixer] if self.mixer else -1
        return [n for n in self.direct if n in self.calls and self.order[n] > end and "norm" in n.lower()]

    def rest(self) -> list[str]:
        """Everything outside the mixer, outermost first."""
        inside = (lambda n: n == self.mixer or n.startswith(self.mixer + ".")) if self.mixer else (lambda n: False)
        return sorted((n for n in self.calls if n and not inside(n)), key=lambda n: n.count("."))


def prove_block(
    block: nn.Module, calls: Sequence[Call], d_model: int, scale: float, where: str, numbers: Sequence[float] = ()
) -> tuple[BlockParts, int]:
    """Find the parts of one block whose outputs add up to what the block adds to the residual stream.

    First the pairs of attention and the rest, each multiplied by `scale`; then a norm after each addition; then up to
    three parts with multiples of their own, which are looked for among `numbers`. Returns the parts and the width of all
    heads' outputs.

    Raises:
        ModelError: if the block was not called once with hidden states.
    """
    record = _Record(block, calls, d_model, where)
    tries = partial(_pair, record, scale), partial(_post_norm, record), partial(_fitted, record, numbers)
    found, least = NOTHING, float("inf")
    for attempt in tries:
        found = attempt()
        least = min(least, found.error)
        if found.error <= TOLERANCE:
            break
    else:  # the parts do not account for the block: leave those sites out rather than mislabel them
        found = _Found(NOTHING.names, NOTHING.scales, least, "unaccounted")
    attn, mlp, other = found.names
    scales = found.scales
    if attn and not mlp and NO_MIXER.search(type(block.get_submodule(attn)).__name__):
        attn, mlp, scales = "", attn, (scales[1], scales[0], scales[2])
    part = block.get_submodule
    return (
        BlockParts(
            block=block,
            attention=part(record.mixer) if record.mixer else None,
            attn_proj=part(record.projection) if record.projection else None,
            attn_out=part(attn) if attn else None,
            mlp_out=part(mlp) if mlp else None,
            other_out=part(other) if other else None,
            names=(record.projection, attn, mlp, other),
            sum=found.law,
            error=found.error,
            scales=scales,
            carry=found.carry,
        ),
        record.calls[record.projection][0].shape[-1] if record.projection else 0,
    )


def _pair(record: _Record, scale: float) -> _Found:
    """The pair (A, M), A from the attention side or a norm after it and M from the rest, that comes closest."""
    none = {"": torch.zeros_like(record.resid_pre)}
    first = record.outputs([*record.attention_side(), *record.norms_after()]) | none
    second = record.outputs(record.rest()) | none
    best: tuple[float, str, str] = (float("inf"), "", "")
    for a_name, a in first.items():
        for m_name, m in second.items():
            if a_name == m_name:
                continue
            error = sum_error(record.resid_pre, record.resid_post, scale * (a + m), record.precision)
            if error < best[0] * 0.5 or (error < best[0] and best[0] > TOLERANCE):
                best = (error, a_name, m_name)
    error, a_name, m_name = best
    return _Found((a_name, m_name, ""), (scale, scale, 1.0), error)


def _post_norm(record: _Record) -> _Found:
    """The parts (A, M) of a block that is norm(norm(resid_pre + A) + M), with the larger error of both sums."""
    size, precision = record.resid_pre.numel(), record.precision
    norms = [
        (wide(given).reshape(-1, record.d_model), wide(out).reshape(-1, record.d_model))
        for name, (given, out) in record.calls.items()
        if "norm" in f"{name} {type(record.block.get_submodule(name)).__name__}".lower()
        and given.numel() == size == out.numel()
    ]
    best = NOTHING
    for a_name, a in record.outputs(record.attention_side()).items():
        for middle_in, middle in norms:
            first = sum_error(record.resid_pre, middle_in, a, precision)
            if first >= best.error:
                continue
            for m_name, m in record.outputs(record.rest()).items():
                for last_in, last in norms:
                    error = max(
                        first,
                        sum_error(middle, last_in, m, precision),
                        sum_error(last, record.resid_post, 0 * m, precision),
                    )
                    if error < best.error:
                        best = _Found((a_name, m_name, ""), (1.0, 1.0, 1.0), error, "post-norm")
    return best


def _fitted(record: _Record, numbers: Sequence[float]) -> _Found:
    """carry · resid_pre + c₁ · P₁ + … = resid_post, with the fewest parts, at most three, that add up; outermost first."""
    candidates = record.outputs([*record.attention_side(), *record.rest()])
    names = list(candidates)[:MOST_TRIED]
    if not names:
        return NOTHING
    columns = torch.stack([record.resid_pre, *(candidates[n] for n in names), record.resid_post]).flatten(1)
    if not bool(columns.isfinite().all()):
        return NOTHING
    gram = columns @ columns.T
    for n_parts in (1, 2, 3):
        for chosen in _likely(gram, n_parts, len(names)):
            some = [columns[i].reshape_as(record.resid_pre) for i in (0, *chosen)]
            fitted = torch.linalg.lstsq(columns[[0, *chosen]].T, columns[-1:].T).solution[:, 0].tolist()
            found = min(
                (
                    (sum_error(c[0] * some[0], record.resid_post, _total(c[1:], some[1:]), record.precision), i, c)
                    for i, c in enumerate((_snapped(fitted, numbers), fitted))
                ),
                key=lambda f: (f[0] > TOLERANCE / 3, f[1], f[0]),
            )
            if found[0] <= TOLERANCE and found[2][0] >= LEAST_CARRY and all(abs(c) > 1e-6 for c in found[2]):
                return _named(record, [names[i - 1] for i in chosen], found[2], found[0])
    return NOTHING


def _total(scales: Sequence[float], parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([c * p for c, p in zip(scales, parts, strict=True)]).sum(0)


def _likely(gram: Tensor, n_parts: int, n_names: int) -> Iterator[tuple[int, ...]]:
    """Sets of so many candidates (rows of `gram`, the first the block's input, the last its output) whose best multiples
    come near the output, in the order of the candidates."""
    if n_parts > n_names:
        return
    sets = torch.tensor(list(combinations(range(1, n_names + 1), n_parts)))
    which = torch.cat([torch.zeros(len(sets), 1, dtype=torch.long), sets], 1)
    normal = gram[which[:, :, None], which[:, None, :]]
    size = normal.diagonal(dim1=1, dim2=2).clamp_min(1e-300).sqrt()
    normal = normal / (size[:, :, None] * size[:, None, :])
    normal = normal + 1e-10 * torch.eye(n_parts + 1, dtype=gram.dtype, device=gram.device)
    right = gram[which, -1] / size
    solved = torch.linalg.solve(normal, right[..., None])[..., 0]
    left = (gram[-1, -1] - (solved * right).sum(-1)).clamp_min(0)
    added = (gram[-1, -1] - 2 * gram[0, -1] + gram[0, 0]).clamp_min(1e-24)
    near = (left <= (2 * TOLERANCE) ** 2 * added).nonzero()[:, 0]
    for index in near.tolist():
        yield tuple(sets[index].tolist())


def _snapped(fitted: Sequence[float], numbers: Sequence[float]) -> list[float]:
    """Fitted multiples, each the nearest of 1 and `numbers` where that is near."""
    known = [1.0, *numbers]
    nearest = [min(known, key=lambda k: abs(k - c)) for c in fitted]
    return [k if abs(k - c) <= SNAP * abs(k) else c for k, c in zip(nearest, fitted, strict=True)]


def _named(record: _Record, chosen: list[str], scales: Sequence[float], error: float) -> _Found:
    """Which of the parts is attention, which the MLP and which another.

    Attention is the mixer, or else the first that ran; a second mixer is another part; the MLP is the first of the rest.
    """
    by_scale = dict(zip(chosen, scales[1:], strict=True))
    left = sorted(chosen, key=lambda n: record.order[n])
    side = [n for n in left if n in record.attention_side()]
    attn = (
        side[0]
        if side
        else next((n for n in left if record.mixer and record.order[n] > record.order[record.mixer]), "")
    )
    left = [n for n in left if n != attn]
    mixers = [n for n in left if MIXER.search(n) and not NO_MIXER.search(n)]
    mlp, other = [*(n for n in left if n not in mixers), "", ""][:2]
    if mixers and (other or len(mixers) > 1):
        return NOTHING  # more of one kind than a site can name
    other = mixers[0] if mixers else other
    names = (attn, mlp, other)
    at = tuple(by_scale.get(n, 1.0) for n in names)
    return _Found(names, (at[0], at[1], at[2]), error, "pre-norm", scales[0])
