"""Directions as safetensors files: one tensor, and its meaning in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from rhat.artifacts.files import replace_bytes
from rhat.errors import DirectionError
from rhat.sites import Site

FORMAT = "rhat-direction-1"
FIELDS = ("site", "position", "norm", "mean_harmful", "mean_harmless", "method", "model", "prompts", "extra")


def save_direction(unit: Tensor, fields: Mapping[str, Any], path: str | Path) -> Path:
    """Write a direction's unit vector and its FIELDS in one step: the file appears whole or not at all.

    Raises:
        DirectionError: if it cannot be written.
    """
    from safetensors.torch import save

    path = Path(path)
    metadata = {
        "format": FORMAT,
        "rhat": json.dumps({name: fields[name] for name in FIELDS}),
    }
    try:
        replace_bytes(path, save({"direction": unit.float().cpu().contiguous()}, metadata))
    except Exception as error:
        raise DirectionError(
            f"{path}: cannot write the direction ({getattr(error, 'strerror', None) or error})"
        ) from error
    return path


def load_direction(path: str | Path) -> dict[str, Any]:
    """The fields of a saved direction.

    Raises:
        DirectionError: if the file is missing or is not a direction of this format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise DirectionError(f"{path}: no such file; make one with `rhat find --out {path}`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise DirectionError(
                    f"{path}: not a direction written by rhat (format {metadata.get('format')!r}); use `rhat find`"
                )
            known = json.loads(metadata["rhat"])
            return {**known, "unit": file.get_tensor("direction"), "site": Site.parse(known["site"])}
    except (SafetensorError, KeyError, ValueError) as error:
        raise DirectionError(
            f"{path}: cannot be read as a direction ({error}); make it again with `rhat find`"
        ) from error
