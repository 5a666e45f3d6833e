"""A GGUF file's metadata → the configuration of its transformers model.

Transformers sets part of it. Here every field that the file states is set, whatever transformers did, and what a family's
configuration has no field for is rejected by its name.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rhat.errors import ModelError
from rhat.model.gguf_keys import ARCHITECTURES, BIAS_SWITCHES, ROPE, ROPE_TENSORS, key_of
from rhat.model.gguf_rope import WITHOUT, UnknownRopeError, rope_parameters

log = logging.getLogger(__name__)

WINDOWED = ("gemma2", "gemma3", "phi3", "starcoder2")
SCALED = {"gemma2": 46, "gemma3": 62}  # how many blocks the size has that divides by √(width / heads)
ALTERNATE = {"gemma2": 2, "gemma3": 6}  # every how many blocks one attends to everything
SIZES = ("block_count", "context_length", "embedding_length", "attention.head_count")
ONE_FOR_ALL = (".feed_forward_length", ".attention.head_count", ".attention.head_count_kv")
LONG_KEYS = ("tokens", "merges", "scores", "token_type", "precompiled_charsmap")


@dataclass(frozen=True)
class Metadata:
    """A file's metadata and what else of it is configuration.

    `keys` are the architecture's without its prefix, `whole` all by their full names (vocabularies left out), `tensors`
    the names of all tensors, `rope` those that hold the rope's factors.
    """

    architecture: str
    keys: Mapping[str, Any]
    whole: Mapping[str, Any]
    tensors: frozenset[str]
    rope: Mapping[str, np.ndarray]


def read_metadata(gguf: Path) -> Metadata:
    """The metadata of a GGUF file, without its weights.

    Raises:
        ModelError: if a key or value would change the computation and rhat does not know how.
        ValueError, OSError and others: if the file is damaged.
    """
    from gguf import GGUFReader

    reader = GGUFReader(str(gguf))
    whole = {n: field.contents() for n, field in reader.fields.items() if not n.endswith(LONG_KEYS)}
    architecture = str(whole.get("general.architecture", ""))
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{gguf}: general.architecture {architecture!r}: rhat reads {', '.join(ARCHITECTURES)}; "
            "give the model as safetensors"
        )
    for name, value in whole.items():
        check_known(gguf, name, value, architecture)
        if isinstance(value, list) and name.endswith(ONE_FOR_ALL):
            raise rejected(gguf, name, value, "layers that differ are not supported (expected one number)")
    prefix = f"{architecture}."
    keys = {name.removeprefix(prefix): value for name, value in whole.items() if name.startswith(prefix)}
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    rope = {n: np.array(tensors[n].data, dtype=np.float32).reshape(-1) for n in ROPE_TENSORS if n in tensors}
    return Metadata(architecture, keys, whole, frozenset(tensors), rope)


def check_known(gguf: Path, name: str, value: Any, architecture: str) -> None:
    """Whether rhat knows what a key does; one of nobody's is named in a warning.

    Raises:
        ModelError: if it is the architecture's and unknown, or if its value is one that nothing takes.
    """
    key = key_of(name, architecture)
    if key is None:
        if name.startswith((f"{architecture}.", "split.")):
            raise rejected(gguf, name, value, "rhat does not know what it changes in the computation")
        log.warning("%s: %s is not used; rhat does not know this key", gguf, name)
    elif not key.fields and not key.part and not _is_idle(value, key.idle):
        expected = " or ".join(map(repr, key.idle)) or "none"
        raise rejected(gguf, name, value, f"transformers' {architecture} has nothing like it (expected {expected})")


def _is_idle(value: Any, idle: tuple[Any, ...]) -> bool:
    return all(v in idle for v in value) if isinstance(value, list) else value in idle


def rejected(gguf: Path, name: str, value: Any, why: str) -> ModelError:
    """The error for a key whose value can not be honoured."""
    return ModelError(f"{gguf}: {name} = {str(value)[:60]}: {why}; give the model as safetensors")


def _set(config: Any, field: str, value: Any, gguf: Path, name: str) -> None:
    try:
        setattr(config, field, value)
    except Exception as error:  # of another type than the field's, or worked out from other fields
        raise rejected(gguf, name, value, f"transformers' {field} cannot be that") from error


def restore(config: Any, meta: Metadata, gguf: Path) -> None:
    """Set in a configuration, in place, everything that the file's metadata and tensors say about the computation.

    Raises:
        ModelError: if the configuration's family has no field for something that would change the computation.
    """
    for suffix in (*SIZES, "attention.key_length"):
        size = meta.keys.get(suffix, 1 if suffix not in SIZES else None)
        if not isinstance(size, int) or size < 1:
            raise ModelError(
                f"{gguf}: {meta.architecture}.{suffix} = {size}: expected a whole number above 0; give another file"
            )
    for suffix, value in meta.keys.items():
        key = key_of(f"{meta.architecture}.{suffix}", meta.architecture)
        if key is None or not key.fields or key.part == "heads":
            continue
        field = next((name for name in key.fields if hasattr(config, name)), None)
        if field is not None:
            off = suffix.endswith("softcapping") and not value
            _set(config, field, None if off else value, gguf, f"{meta.architecture}.{suffix}")
        elif key.part != "rope" and not _is_idle(value, key.idle):
            raise rejected(gguf, f"{meta.architecture}.{suffix}", value, "the configuration has no field for it")
    _restore_heads(config, meta, gguf)
    for switch, ends in BIAS_SWITCHES.items():
        if hasattr(config, switch):
            setattr(config, switch, any(name.startswith("blk.") and name.endswith(ends) for name in meta.tensors))
    if meta.architecture == "qwen3moe" and "expert_weights_norm" not in meta.keys:
        config.norm_topk_prob = True  # llama.cpp's
    _restore_rope(config, meta, gguf)
    _restore_window(config, meta, gguf)
    _restore_scale(config, meta, gguf)


def head_width(meta: Metadata) -> int:
    """The width of a head of queries and keys."""
    usual = meta.keys["embedding_length"] // meta.keys["attention.head_count"]
    return int(meta.keys.get("attention.key_length", usual))


def _restore_heads(config: Any, meta: Metadata, gguf: Path) -> None:
    """The sizes of heads and of the MLP, which have defaults where the file does not give them."""
    arch, keys = meta.architecture, meta.keys
    width, heads = int(keys["embedding_length"]), int(keys["attention.head_count"])
    head = head_width(meta)
    usual = {
        "attention.head_count": heads,
        "attention.head_count_kv": heads,
        "feed_forward_length": 4 * width,
        "attention.key_length": head,
        "attention.value_length": head,
    }
    for suffix, default in usual.items():
        number = int(keys.get(suffix, default))
        key = key_of(f"{arch}.{suffix}", arch)
        field = next((name for name in (key.fields if key else ()) if hasattr(config, name)), None)
        if field is not None:
            _set(config, field, number, gguf, f"{arch}.{suffix}")
        elif number != default:
            raise rejected(gguf, f"{arch}.{suffix}", number, f"expected {default}")
    if arch == "falcon" and config.num_kv_heads != 1:
        raise rejected(gguf, f"{arch}.attention.head_count_kv", config.num_kv_heads, "expected 1")
    if getattr(config, "head_dim", width // heads) not in (head, None):
        _set(config, "head_dim", head, gguf, f"{arch}.attention.key_length")


def _restore_rope(config: Any, meta: Metadata, gguf: Path) -> None:
    arch, keys = meta.architecture, meta.keys
    if arch in WITHOUT:
        named = [n for n in keys if n.startswith("rope.") and key_of(f"{arch}.{n}", arch) == ROPE]
        name = next(iter([*named, *meta.rope]), None)
        if name is not None:
            raise ModelError(f"{gguf}: {name}: {arch} has no rotary positions; the file is damaged, give another file")
        return
    try:
        rope = rope_parameters(arch, keys, meta.rope, head_width(meta), int(keys["context_length"]))
    except UnknownRopeError as error:
        raise ModelError(f"{gguf}: {error}; give the model as safetensors") from error
    if arch == "phi3":
        if rope["rope_type"] not in ("default", "longrope"):
            why = f"expected none or longrope (rope.scaling.factor {rope['factor']:g})"
            raise rejected(gguf, "phi3.rope.scaling.type", rope["rope_type"], why)
        config.original_max_position_embeddings = rope.get("original_max_position_embeddings", keys["context_length"])
    turned = keys.get("rope.dimension_count", head_width(meta))
    if keys.get("rope.dimension_count_swa", turned) != turned:
        value = keys["rope.dimension_count_swa"]
        raise rejected(gguf, f"{arch}.rope.dimension_count_swa", value, f"expected {turned}, as of all layers")
    if arch == "gemma3":  # layers with a window rotate as before any scaling
        local = {"rope_type": "default", "rope_theta": float(keys.get("rope.freq_base_swa", 10000.0))}
        config.rope_parameters = {"full_attention": rope, "sliding_attention": local}
        return
    other = keys.get("rope.freq_base_swa")
    if other is not None and other != rope["rope_theta"]:
        raise rejected(gguf, f"{arch}.rope.freq_base_swa", other, f"expected {rope['rope_theta']:g}, as of all layers")
    config.rope_parameters = rope


def _restore_window(config: Any, meta: Metadata, gguf: Path) -> None:
    """The sliding window, and which layers have it."""
    arch, keys = meta.architecture, meta.keys
    window = keys.get("attention.sliding_window")
    pattern = keys.get("attention.sliding_window_pattern")
    if arch == "gemma3" and window is None:
        raise ModelError(f"{gguf}: gemma3.attention.sliding_window is missing; give another file")
    if arch in WINDOWED:
        if arch != "gemma2" or window is not None:  # llama.cpp's default for Gemma 2 is transformers' as well
            _set(config, "sliding_window", window or None, gguf, f"{arch}.attention.sliding_window")
    elif window and window < keys["context_length"]:
        raise rejected(gguf, f"{arch}.attention.sliding_window", window, f"transformers' {arch} attends to everything")
    if arch in ALTERNATE:
        n = int(keys["block_count"])
        given = (
            pattern if isinstance(pattern, list) else [(i + 1) % int(pattern or ALTERNATE[arch]) != 0 for i in range(n)]
        )
        config.layer_types = ["sliding_attention" if local else "full_attention" for local in given]
    elif pattern is not None:
        raise rejected(gguf, f"{arch}.attention.sliding_window_pattern", pattern, "all layers are alike")


def _restore_scale(config: Any, meta: Metadata, gguf: Path) -> None:
    """What scores of attention are multiplied by. Gemma's converter does not write it: as in llama.cpp, it is one over
    the root of a head's width, but in the 27B sizes, told by their number of blocks, of the width over the heads."""
    arch, keys = meta.architecture, meta.keys
    given, usual = float(keys.get("attention.scale", 0.0)), head_width(meta)
    if arch in SCALED:
        if keys["block_count"] == SCALED[arch]:
            usual = keys["embedding_length"] // keys["attention.head_count"]
        scalar = given**-2 if given else float(usual)
        whole = round(scalar)  # the field takes whole numbers; the file's has float32's precision
        if not math.isclose(scalar, whole, rel_tol=1e-5):
            raise rejected(gguf, f"{arch}.attention.scale", given, "expected one over the root of a whole number")
        config.query_pre_attn_scalar = whole
    elif given and not math.isclose(given, usual**-0.5, rel_tol=1e-5):
        raise rejected(gguf, f"{arch}.attention.scale", given, f"expected {usual**-0.5:g}")
