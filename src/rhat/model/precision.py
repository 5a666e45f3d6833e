"""Precision: the torch dtype in which a model is run."""

from __future__ import annotations

import torch

from rhat.errors import ModelError
from rhat.vocabulary import DTYPE_NAMES

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES}


def native_bfloat16() -> bool:
    """Whether the processor or GPU multiplies bfloat16 matrices natively."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probes = (getattr(torch.cpu, "_is_avx512_bf16_supported", None), getattr(torch.cpu, "_is_amx_tile_supported", None))
    return any(probe() for probe in probes if probe is not None)


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The torch dtype of a name; "auto" is bfloat16 where that is native, else float32.

    Raises:
        ModelError: if there is no such name.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        return torch.bfloat16 if native_bfloat16() else torch.float32
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r}: expected auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]
