"""A GGUF file's rope → the rope parameters of a transformers configuration.

A file says how it rotates in two ways: by metadata keys (a base, a kind of scaling and its numbers), and by tensors that
divide each frequency (`rope_freqs` for Llama 3.1 and later, `rope_factors_*` for Phi-3). Defaults are llama.cpp's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

# Rotates only the first part of a head; elsewhere transformers rotates all of it.
PARTIAL = ("phi3", "stablelm", "nemotron")
WITHOUT = ("gpt2", "bloom")  # positions are learned, or a slope
BASE = 10000.0
LLAMA3 = ((1.0, 4.0, 8192), (1.0, 4.0, 4096), (1.0, 4.0, 16384))  # low and high frequency factor, original length


class UnknownRopeError(ValueError):
    """A key or tensor that no rope of transformers can say; its text names it."""


def rope_parameters(
    architecture: str, keys: Mapping[str, Any], factors: Mapping[str, np.ndarray], head_dim: int, context: int
) -> dict[str, Any]:
    """The rope parameters of a file, for layers that attend to everything.

    `keys` are the architecture's metadata without its prefix, `factors` the rope's tensors by name, `context` the length
    that the file gives.

    Raises:
        UnknownRopeError: if transformers has no rope like that.
    """
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": float(keys.get("rope.freq_base", BASE))}
    turned = int(keys.get("rope.dimension_count", head_dim))
    if architecture in PARTIAL:
        rope["partial_rotary_factor"] = turned / head_dim
    elif turned != head_dim:
        raise UnknownRopeError(f"rope.dimension_count {turned}: expected {head_dim}, all of a head")
    kind = str(keys.get("rope.scaling.type", "linear"))
    factor = (
        1.0 if kind == "none" else float(keys.get("rope.scaling.factor", keys.get("rope.scale_linear", 0.0)) or 1.0)
    )
    original = int(keys.get("rope.scaling.original_context_length", context))
    scale = float(keys.get("rope.scaling.attn_factor", 1.0))  # of the rotated queries and keys
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise UnknownRopeError(f"rope.scaling.type {kind!r}: expected none, linear, yarn or longrope")
    short, long = factors.get("rope_factors_short.weight"), factors.get("rope_factors_long.weight")
    both = factors.get("rope_freqs.weight")
    if kind == "yarn":
        if factors:
            raise UnknownRopeError(f"{next(iter(factors))}: not together with rope.scaling.type 'yarn'")
        return rope | _yarn(architecture, keys, factor, original, scale)
    if (short is None) != (long is None):
        raise UnknownRopeError("rope_factors_short and rope_factors_long: expected both, got one")
    if kind == "longrope" and short is None and both is None:
        raise UnknownRopeError(
            "rope.scaling.type 'longrope': the tensors rope_factors_short and rope_factors_long are missing"
        )
    if both is not None:  # of each layer; it comes before the other two
        short = long = both
        if scale == 1.0 and factor == 1.0 and (llama3 := _llama3(both, rope["rope_theta"], turned)):
            return rope | llama3
    if short is not None and long is not None:
        if {len(short), len(long)} != {turned // 2}:
            raise UnknownRopeError(f"rope factors: got {len(short)} and {len(long)}, expected {turned // 2}")
        return rope | {
            "rope_type": "longrope",
            "short_factor": [float(x) * factor for x in short],
            "long_factor": [float(x) * factor for x in long],
            "attention_factor": scale,
            "factor": max(context / original, 1.0),
            "original_max_position_embeddings": original,
        }
    if scale != 1.0:
        raise UnknownRopeError(f"rope.scaling.attn_factor {scale:g}: expected 1 with rope.scaling.type {kind!r}")
    return rope | ({"rope_type": "linear", "factor": factor} if factor != 1.0 else {})


def _yarn(architecture: str, keys: Mapping[str, Any], factor: float, original: int, scale: float) -> dict[str, Any]:
    """Yarn's parameters. The converter writes a configuration's attention_factor, which is the whole factor, as
    yarn_attn_factor; attn_factor multiplies the usual one."""
    ext = float(keys.get("rope.scaling.yarn_ext_factor", 1.0))
    if ext not in (1.0, -1.0):  # −1 is llama.cpp's "as usual"
        raise UnknownRopeError(f"rope.scaling.yarn_ext_factor {ext:g}: expected 1")
    log_mul = float(keys.get("rope.scaling.yarn_log_multiplier", 0.0))
    usual = _mscale(factor, 1.0) / (_mscale(factor, log_mul) if log_mul else 1.0)
    given = keys.get("rope.scaling.yarn_attn_factor")
    if given is not None and scale != 1.0:
        raise UnknownRopeError("rope.scaling.attn_factor: not together with rope.scaling.yarn_attn_factor")
    return {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": original,
        "attention_factor": float(given) if given is not None else usual * scale,
        "beta_fast": float(keys.get("rope.scaling.yarn_beta_fast", 32.0)),
        "beta_slow": float(keys.get("rope.scaling.yarn_beta_slow", 1.0)),
    }


def _mscale(factor: float, multiplier: float) -> float:
    return 1.0 if factor <= 1.0 else 0.1 * multiplier * math.log(factor) + 1.0


def _llama3(factors: np.ndarray, base: float, turned: int) -> dict[str, Any] | None:
    """The llama3 parameters that give these factors, to float32's precision; None if none of the usual ones does."""
    factor = round(float(factors.max()), 4)
    wavelength = 2 * math.pi * base ** (np.arange(0, turned, 2) / turned)
    if len(wavelength) != len(factors):
        return None
    for low, high, original in LLAMA3:
        smooth = np.clip((original / wavelength - low) / (high - low), 0.0, 1.0)
        if np.allclose(1 / ((1 - smooth) / factor + smooth), factors, rtol=1e-5, atol=0):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }
    return None
