"""PyTorch's `.pt` files, read as data only: nothing in them is ever run."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rhat.errors import DirectionError

SUFFIXES = (".pt", ".pth", ".bin", ".pkl")


@dataclass
class SteeringVector:
    """Stands for the class of that name in steering-vectors, whose files are pickles of it."""

    layer_activations: dict[int, Tensor] = field(default_factory=dict)
    layer_type: str = "decoder_block"


STANDS_FOR: list[Any] = [(SteeringVector, "steering_vectors.steering_vector.SteeringVector")]


def unpickled(path: Path) -> Any:
    """What is in the file: tensors, numbers, text, lists and dictionaries of them, or a SteeringVector.

    Raises:
        DirectionError: if it holds anything else, or cannot be read.
    """
    try:
        with torch.serialization.safe_globals(STANDS_FOR), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())
        if "Unsupported global" in reason or "GLOBAL" in reason:
            reason = f"holds more than tensors: {reason[reason.find('GLOBAL') :][:80]}"
        raise DirectionError(
            f"{path}: cannot be read as tensors alone ({reason[:160]}); a pickle can run code, so save the tensor itself, "
            "with torch.save or safetensors"
        ) from error


def is_pickle(path: Path) -> bool:
    """Whether the file is named like one and is there."""
    return path.suffix in SUFFIXES and path.is_file()
