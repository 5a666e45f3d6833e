"""A tensor or an array saved alone: `.pt`, `.npy`, `.npz`; a row of a matrix, such as a sparse autoencoder's decoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from rhat.errors import DirectionError
from rhat.vectors.choosing import site_given, tensor_of, vector_of
from rhat.vectors.format import Format, Given, Wanted
from rhat.vectors.pickles import is_pickle, unpickled

ARRAYS = (".npy", ".npz")


def matches(path: Path) -> bool:
    """Whether it is an array file, or a pickle of a tensor or of named tensors."""
    if path.suffix in ARRAYS:
        return path.is_file()
    if not is_pickle(path):
        return False
    held = unpickled(path)
    return isinstance(held, Tensor) or _named(held)


def _named(held: Any) -> bool:
    return isinstance(held, Mapping) and any(isinstance(v, Tensor) and isinstance(k, str) for k, v in held.items())


def read(path: Path, wanted: Wanted) -> Given:
    """The vector that is wanted, at the site that is wanted: such files say neither.

    Raises:
        DirectionError: if it cannot be read, or what is wanted is not clear.
    """
    held = _array(path) if path.suffix in ARRAYS else unpickled(path)
    if isinstance(held, Tensor):
        return Given(vector_of(path, held, wanted), site_given(path, wanted))
    if not _named(held):
        raise DirectionError(f"{path}: got {type(held).__name__}, expected a tensor, or named tensors and --key")
    tensors = {name: value for name, value in held.items() if isinstance(value, Tensor)}
    return Given(tensor_of(path, tensors, wanted), site_given(path, wanted))


def _array(path: Path) -> Any:
    import numpy as np
    import torch

    try:
        held = np.load(path, allow_pickle=False)
        if isinstance(held, np.ndarray):
            return torch.as_tensor(held)
        return {name: torch.as_tensor(held[name]) for name in held.files}
    except (ValueError, OSError, TypeError) as error:
        raise DirectionError(f"{path}: cannot be read as an array of numbers ({error})") from error


FORMAT = Format(
    "tensor",
    tools="PyTorch, NumPy; decoders of sparse autoencoders",
    holds="`.pt`, `.npy`, `.npz`: a vector, a named one by `--key`, or a row of a matrix by `--row`, at `--site`",
    lacks="it would not say what to do; use safetensors",
    matches=matches,
    read=read,
)
