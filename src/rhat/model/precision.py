"""Precision: the torch dtype in which a model is run."""

from __future__ import annotations

import torch
from torch import Tensor

from rhat.errors import ModelError
from rhat.vocabulary import DTYPE_NAMES

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES}


WITHOUT_FLOAT64 = ("mps",)
"""Kinds of device that have no float64: what is computed in it is computed on the processor."""


def wide(x: Tensor) -> Tensor:
    """`x` in float64, on its device, or on the processor where its device has none."""
    return (x.cpu() if x.device.type in WITHOUT_FLOAT64 else x).double()


def native_bfloat16(device: str) -> bool:
    """Whether a kind of device ("cuda", "mps", "cpu") multiplies bfloat16 matrices natively."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    probes = (getattr(torch.cpu, "_is_avx512_bf16_supported", None), getattr(torch.cpu, "_is_amx_tile_supported", None))
    return any(probe() for probe in probes if probe is not None)


def resolve_dtype(dtype: str | torch.dtype, device: str = "cpu") -> torch.dtype:
    """The torch dtype of a name; "auto" is bfloat16 where that is native on a kind of device, else float32.

    Raises:
        ModelError: if there is no such name, or the device has no such precision.
    """
    if not isinstance(dtype, torch.dtype) and dtype not in ("auto", *DTYPES):
        raise ModelError(f"dtype {dtype!r}: expected auto, {', '.join(DTYPES)}")
    if dtype == "auto":
        return torch.bfloat16 if native_bfloat16(device) else torch.float32
    found = dtype if isinstance(dtype, torch.dtype) else DTYPES[dtype]
    if found == torch.float64 and device in WITHOUT_FLOAT64:
        raise ModelError(f"dtype float64: {device} has no float64; give --dtype float32, or --device cpu")
    return found
