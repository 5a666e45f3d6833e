"""Where a decoder keeps its blocks, attention, MLP and output projections, found by structure and proved by a run."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rhat.errors import ModelError
from rhat.model.finite import check_probe

# Exceptions to what is found by structure. A new family that needs one is one row.
RESIDUAL_SCALES = (  # attributes, of the block or of the configuration, that say which multiple of each part a block adds
    "residual_multiplier",  # Granite
    "residual_scale",  # MiniCPM3
)
MIXERS = (  # what blocks call the module that mixes tokens: the end of its name, the likeliest first
    "(?<!linear_)(?:attn|attention)",
    "linear_attn|mixer|mamba|conv|temporal_block",  # hybrids: blocks without softmax attention, and so without heads
)
_ROUTED = re.compile(r"expert", re.IGNORECASE)


TOLERANCE = 0.03  # the largest relative error with which parts still count as adding up (half precision rounds)
Sum = Literal["pre-norm", "post-norm", "unaccounted"]


@dataclass(frozen=True, eq=False)
class BlockParts:
    """The modules of one block whose inputs or outputs are sites. None: this block has no such part.

    sum     how the parts make up the block, proved by a run. "pre-norm": resid_pre + scale · (attn_out + mlp_out) =
            resid_post; "post-norm": the same with a norm after each addition; "unaccounted": neither, so that attn_out
            and mlp_out are not sites of this block
    error   the relative error of that sum in the probe run
    """

    block: nn.Module
    attention: nn.Module | None
    attn_proj: nn.Module | None
    attn_out: nn.Module | None
    mlp_out: nn.Module | None
    names: tuple[str, str, str]  # of attn_proj, attn_out, mlp_out inside the block; "" where absent
    sum: Sum = "pre-norm"
    error: float = 0.0


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
    residual_scale: float
    residual_error: float
    tuple_output: bool  # whether a block returns a tuple with the hidden states first


def first_tensor(output: object) -> Tensor:
    """The hidden states of a module's output: itself, or the first element of a tuple."""
    return output[0] if isinstance(output, (tuple, list)) else output  # type: ignore[return-value]


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


def find_blocks(hf: nn.Module) -> tuple[str, nn.ModuleList]:
    """The one list of decoder blocks: a ModuleList as long as the layer count, outermost first, largest wins.

    Raises:
        ModelError: if there is none.
    """
    n_layers = text_config(hf).num_hidden_layers
    found = [
        (name, module)
        for name, module in hf.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == n_layers
        and not re.search(r"vision|visual|audio|image|encoder", name.split(".layers")[0])
        and not _ROUTED.search(name)
    ]
    if not found:
        raise ModelError(
            f"{type(hf).__name__}: no list of {n_layers} decoder blocks found; "
            "rhat needs a decoder whose blocks stand in one ModuleList"
        )
    return max(found, key=lambda pair: sum(p.numel() for p in pair[1].parameters()))


def _residual_scale(block: nn.Module, config: Any) -> float:
    """Which multiple of each part's output a block adds; 1 in nearly every family."""
    return next((float(getattr(o, n)) for n in RESIDUAL_SCALES for o in (block, config) if hasattr(o, n)), 1.0)


def _has_heads(parts: BlockParts) -> bool:
    """Whether the block's output projection takes the outputs of attention heads."""
    if parts.attn_proj is None or parts.attention is None:
        return False
    mixer = next(name for name, module in parts.block.named_children() if module is parts.attention)
    return re.search(f"({MIXERS[0]})$", mixer) is not None


def _base_of(hf: nn.Module, blocks_name: str) -> tuple[str, nn.Module]:
    """The module that owns the blocks and whose forward loops over them."""
    name = blocks_name.rpartition(".")[0]
    return name, hf.get_submodule(name)


@contextmanager
def _recording(blocks: nn.ModuleList) -> Iterator[list[list[tuple[str, Tensor, Tensor]]]]:
    """Record, for every block, each submodule call as (name, input, output), in the order the calls end."""
    records: list[list[tuple[str, Tensor, Tensor]]] = [[] for _ in blocks]
    handles = []

    def recorder(into: list[tuple[str, Tensor, Tensor]], name: str):
        def hook(_module: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
            given = args[0] if args else kwargs.get("hidden_states")
            result = first_tensor(output)
            if isinstance(given, Tensor) and isinstance(result, Tensor):
                into.append((name, given.clone(), result.clone()))  # clones: some blocks add in place (Falcon)

        return hook

    try:
        for block, into in zip(blocks, records, strict=True):
            for name, module in block.named_modules():
                if not _ROUTED.search(name):
                    handles.append(module.register_forward_hook(recorder(into, name), with_kwargs=True))
        yield records
    finally:
        for handle in handles:
            handle.remove()


def _sum_error(resid_pre: Tensor, resid_post: Tensor, parts: Tensor, precision: float) -> float:
    """How far resid_pre + parts is from resid_post, relative to what was added, beyond what rounding explains."""
    rounding = 2 * precision * (resid_pre.abs() + resid_post.abs() + parts.abs())
    excess = ((resid_pre + parts - resid_post).abs() - rounding).clamp_min(0)
    error = float(excess.norm() / (resid_post - resid_pre).norm().clamp_min(1e-12))
    return (
        error if math.isfinite(error) else math.inf
    )  # NaN is neither above nor below a bound, so it would pass as best


def _prove_block(
    block: nn.Module, record: list[tuple[str, Tensor, Tensor]], d_model: int, scale: float, where: str
) -> tuple[BlockParts, int]:
    """Find the parts of one block whose outputs add up to what the block adds to the residual stream.

    Every pair (A, M) of recorded outputs, A from the attention side and M from the rest, is tried, outermost first;
    the pair whose sum comes closest to resid_post − resid_pre is taken. Returns them and the width of all heads' outputs.
    """
    calls = Counter(name for name, _, _ in record)
    record = [call for call in record if calls[call[0]] == 1]  # a module that serves twice (Phi's dropout) is no site
    by_name = {name: (given, result) for name, given, result in record}
    if "" not in by_name:
        raise ModelError(f"{where}: the block was not called with hidden states; this architecture is not supported")
    resid_pre, resid_post = (x.double().reshape(-1, d_model) for x in by_name[""])
    added = resid_post - resid_pre
    precision = torch.finfo(by_name[""][1].dtype).eps

    direct = [name for name, _ in block.named_children()]
    attention_name = next((n for m in MIXERS for n in direct if n in by_name and re.search(f"({m})$", n)), None)
    attention = block.get_submodule(attention_name) if attention_name else None
    proj_name = ""
    if attention_name:
        heard = by_name[attention_name][0]  # what goes into queries, keys and values: not the heads' outputs
        inside = [
            n
            for n, given, out in record
            if n.startswith(attention_name + ".")
            and out.shape[-1] == d_model
            and is_projection(block.get_submodule(n))
            and not (given.shape[-1] == heard.shape[-1] and torch.equal(given.flatten(), heard.flatten()))
        ]
        proj_name = inside[-1] if inside else ""

    order = {name: index for index, (name, _, _) in enumerate(record)}
    attention_end = order.get(attention_name, -1) if attention_name else -1

    def outputs(names: list[str]) -> list[tuple[str, Tensor]]:
        return [
            (n, by_name[n][1].double().reshape(-1, d_model))
            for n in names
            if by_name[n][1].shape[-1] == d_model and by_name[n][1].numel() == resid_pre.numel()
        ]

    in_attention = [n for n in by_name if attention_name and n in (attention_name, proj_name)]
    norms_after = [n for n in by_name if n in direct and order[n] > attention_end and "norm" in n.lower()]
    others = [
        n
        for n in by_name
        if n and n not in in_attention and not (attention_name and n.startswith(attention_name + "."))
    ]
    in_attention.sort(key=len)
    others.sort(key=lambda n: n.count("."))

    best: tuple[float, str, str] = (float("inf"), "", "")
    for a_name, a in [*outputs(in_attention), *outputs(norms_after), ("", torch.zeros_like(added))]:
        for m_name, m in [*outputs(others), ("", torch.zeros_like(added))]:
            if a_name == m_name:
                continue
            error = _sum_error(resid_pre, resid_post, scale * (a + m), precision)
            if error < best[0] * 0.5 or (error < best[0] and best[0] > TOLERANCE):
                best = (error, a_name, m_name)
    error, a_name, m_name = best
    law: Sum = "pre-norm"
    if error > TOLERANCE:
        law = "post-norm"
        a_name, m_name, error = _post_norm(
            resid_pre, resid_post, by_name, outputs(in_attention), outputs(others), precision
        )
    if error > TOLERANCE:  # the parts do not account for the block: leave those sites out rather than mislabel them
        law, a_name, m_name = "unaccounted", "", ""
    part = block.get_submodule
    return (
        BlockParts(
            block=block,
            attention=attention,
            attn_proj=part(proj_name) if proj_name else None,
            attn_out=part(a_name) if a_name else None,
            mlp_out=part(m_name) if m_name else None,
            names=(proj_name, a_name, m_name),
            sum=law,
            error=error,
        ),
        by_name[proj_name][0].shape[-1] if proj_name else 0,
    )


def _post_norm(
    resid_pre: Tensor,
    resid_post: Tensor,
    by_name: dict[str, tuple[Tensor, Tensor]],
    attention: list[tuple[str, Tensor]],
    others: list[tuple[str, Tensor]],
    precision: float,
) -> tuple[str, str, float]:
    """The parts (A, M) of a block that is norm(norm(resid_pre + A) + M), with the relative error of both sums."""
    d_model = resid_pre.shape[-1]
    norms = [
        (given.double().reshape(-1, d_model), result.double().reshape(-1, d_model))
        for name, (given, result) in by_name.items()
        if "norm" in name.lower() and given.numel() == resid_pre.numel() == result.numel()
    ]
    found = [("", "", float("inf"))]
    for a_name, a in attention:
        for middle_in, middle in norms:
            first = _sum_error(resid_pre, middle_in, a, precision)
            for m_name, m in others:
                for last_in, last in norms:
                    error = max(
                        first, _sum_error(middle, last_in, m, precision), _sum_error(last, resid_post, 0 * m, precision)
                    )
                    found.append((a_name, m_name, error))
    return min(found, key=lambda f: f[2])


def discover(hf: nn.Module) -> Layout:
    """Find the layout of a Hugging Face decoder and prove it with one run of four tokens.

    Raises:
        ModelError: if there is no list of blocks or a block is not called with hidden states.
        NonFiniteError: if what a block puts out, or the logits, are not finite.
    """
    config = text_config(hf)
    if not isinstance(getattr(config, "num_attention_heads", None), int):
        raise ModelError(
            f"{type(hf).__name__}: this architecture has no attention heads (a state-space model?); "
            "rhat reads and edits decoders with attention: use one, or a hybrid that has attention in some blocks"
        )
    blocks_name, blocks = find_blocks(hf)
    base_name, base = _base_of(hf, blocks_name)
    d_model = config.hidden_size
    scale = _residual_scale(blocks[0], config)
    raw_outputs: list[object] = []
    handle = blocks[0].register_forward_hook(lambda _m, _a, output: raw_outputs.append(output))
    device = next(hf.parameters()).device
    device = torch.device("cpu") if device.type == "meta" else device
    probe = torch.arange(4, device=device)[None] + min(20, config.vocab_size - 5)
    training = hf.training
    hf.eval()
    try:
        with torch.no_grad(), _recording(blocks) as records:
            logits = hf(input_ids=probe, use_cache=False).logits
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{type(hf).__name__}: a forward pass of four tokens failed ({reason})") from error
    finally:
        handle.remove()
        hf.train(training)
    check_probe(hf, base_name, blocks_name, probe, records, logits)
    proved = [
        _prove_block(block, record, d_model, scale, f"{type(hf).__name__} block {index}")
        for index, (block, record) in enumerate(zip(blocks, records, strict=True))
    ]
    n_heads = config.num_attention_heads
    width = max((w for parts, w in proved if _has_heads(parts)), default=0)
    parts = tuple(
        p if w == width and _has_heads(p) else replace(p, attn_proj=None, names=("", *p.names[1:])) for p, w in proved
    )
    return Layout(
        base=base,
        base_name=base_name,
        blocks_name=blocks_name,
        parts=parts,
        n_layers=len(blocks),
        d_model=d_model,
        n_heads=n_heads,
        head_dim=width // n_heads,
        residual_scale=scale,
        residual_error=max(p.error for p in parts),
        tuple_output=isinstance(raw_outputs[0], (tuple, list)),
    )
