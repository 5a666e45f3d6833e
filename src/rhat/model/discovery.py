"""Find the layout of a decoder: its list of blocks by structure, their parts by a run of four tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rhat.errors import ModelError
from rhat.model.finite import check_probe
from rhat.model.layout import BlockParts, Layout, first_tensor, text_config
from rhat.model.parts import MIXERS, Call, prove_block, residual_scale
from rhat.model.precision import wide

_ROUTED = re.compile(r"expert", re.IGNORECASE)
TOKENS = 4  # of each of the two rows of the run, which differ in the last token


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


@contextmanager
def _recording(blocks: nn.ModuleList) -> Iterator[tuple[list[list[Call]], list[object]]]:
    """Record, for every block, each submodule call as (name, input, output), in the order the calls end; and whatever the
    blocks give."""
    records: list[list[Call]] = [[] for _ in blocks]
    outputs: list[object] = []
    handles = [block.register_forward_hook(lambda _m, _a, output: outputs.append(output)) for block in blocks]

    def recorder(into: list[Call], name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
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
        yield records, outputs
    finally:
        for handle in handles:
            handle.remove()


def _probed(hf: Any, blocks: nn.ModuleList, blocks_name: str, config: Any) -> tuple[list[list[Call]], list[object]]:
    """What every block's modules did in a run of two rows of four tokens that differ in the last.

    Raises:
        ModelError: if the model does not run on token ids alone.
        NonFiniteError: if what a block puts out, or the logits, are not finite.
    """
    device = next(hf.parameters()).device
    device = torch.device("cpu") if device.type == "meta" else device
    row = torch.arange(TOKENS, device=device) + max(min(20, config.vocab_size - TOKENS - 2), 0)
    probe = torch.stack([row, row + (row == row[-1]).long()])
    training = hf.training
    hf.eval()
    try:
        with torch.no_grad(), _recording(blocks) as recorded:
            logits = hf(input_ids=probe, use_cache=False).logits
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{type(hf).__name__}: a forward pass of four tokens failed ({reason})") from error
    finally:
        hf.train(training)
    check_probe(hf, blocks_name.rpartition(".")[0], blocks_name, probe, recorded[0], logits)
    return recorded


def _check_stream(hf: Any, records: list[list[Call]], d_model: int) -> None:
    """Whether every block takes and gives one stream, [batch, token, width].

    Raises:
        ModelError: if one does not: several streams beside one another, or tokens before rows.
    """
    expected = (2, TOKENS, d_model)
    for index, record in enumerate(records):
        for name, given, out in record:
            for x, what in ((given, "takes"), (out, "gives")) if name == "" else ():
                if tuple(x.shape) != expected:
                    raise ModelError(
                        f"{type(hf).__name__} block {index}: {what} hidden states of shape {tuple(x.shape)} for 2 prompts of "
                        f"{TOKENS} tokens, expected {expected}; rhat needs a decoder with one residual stream"
                    )


def _check_causal(hf: Any, record: list[Call]) -> None:
    """Whether a token changes nothing in what a block gives for those before it.

    Raises:
        ModelError: if it does: answers cannot be decoded token by token then.
    """
    out = wide(next(out for name, _, out in record if name == "")[:, :-1])
    moved = float((out[0] - out[1]).norm() / out[0].norm().clamp_min(1e-12))
    if moved > (1e-3 if record[0][2].dtype in (torch.float32, torch.float64) else 0.03):
        raise ModelError(
            f"{type(hf).__name__}: a token changes what is computed for those before it; rhat needs a causal decoder"
        )


def _has_heads(parts: BlockParts) -> bool:
    """Whether the block's output projection takes the outputs of attention heads."""
    if parts.attn_proj is None or parts.attention is None:
        return False
    mixer = next(name for name, module in parts.block.named_children() if module is parts.attention)
    return re.search(f"({MIXERS[0]})$", mixer) is not None


def _numbers(block: nn.Module, config: Any) -> list[float]:
    """Numbers that a block or its configuration holds: what a part may be multiplied by."""
    found: set[float] = set()
    for holder in (block, *block.children(), config):
        for value in [*vars(holder).values(), *getattr(holder, "_buffers", {}).values()]:
            if isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point():
                value = float(value)
            if isinstance(value, float):
                found.add(value)
    return sorted(found)


def discover(hf: nn.Module) -> Layout:
    """Find the layout of a Hugging Face decoder and prove it with one run of two rows of four tokens.

    Raises:
        ModelError: if there is no list of blocks, a block is not called once with one stream of hidden states, or a token
            changes those before it.
    """
    config = text_config(hf)
    if not isinstance(getattr(config, "num_attention_heads", None), int):
        raise ModelError(
            f"{type(hf).__name__}: this architecture has no attention heads (a state-space model?); "
            "rhat reads and edits decoders with attention: use one, or a hybrid that has attention in some blocks"
        )
    blocks_name, blocks = find_blocks(hf)
    base_name = blocks_name.rpartition(".")[0]  # the module that owns the blocks and whose forward loops over them
    d_model = config.hidden_size
    records, outputs = _probed(hf, blocks, blocks_name, config)
    _check_stream(hf, records, d_model)
    _check_causal(hf, records[-1])
    scale = residual_scale(blocks[0], config)
    proved = [
        prove_block(block, record, d_model, scale, f"{type(hf).__name__} block {i}", _numbers(block, config))
        for i, (block, record) in enumerate(zip(blocks, records, strict=True))
    ]
    n_heads = config.num_attention_heads
    width = max((w for parts, w in proved if _has_heads(parts)), default=0)
    parts = tuple(
        p if w == width and _has_heads(p) else replace(p, attn_proj=None, names=("", *p.names[1:])) for p, w in proved
    )
    return Layout(
        base=hf.get_submodule(base_name),
        base_name=base_name,
        blocks_name=blocks_name,
        parts=parts,
        n_layers=len(blocks),
        d_model=d_model,
        n_heads=n_heads,
        head_dim=width // n_heads,
        residual_error=max(p.error for p in parts),
        tuple_output=isinstance(outputs[0], (tuple, list)),
    )
