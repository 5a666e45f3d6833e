"""Directions as safetensors files: one tensor, and its meaning in the metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    from safetensors import safe_open

    path = Path(path)
    if not path.is_file():
        raise DirectionError(f"{path}: no such file; make one with `rhat find --out {path}`")
    with _reading(str(path)), safe_open(path, framework="pt") as file:
        return {**_known(file.metadata(), str(path)), "unit": file.get_tensor("direction")}


def parse_direction(raw: bytes, name: str) -> dict[str, Any]:
    """The fields of a direction from a file's bytes; `name` is what errors call it.

    Raises:
        DirectionError: if they are not a direction of this format.
    """
    from safetensors.torch import load

    with _reading(name):
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])  # which safetensors' `load` does not give
        if not isinstance(header, dict):
            raise ValueError("no safetensors file")
        return {**_known(header.get("__metadata__"), name), "unit": load(raw)["direction"]}


@contextmanager
def _reading(name: str) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, KeyError, ValueError) as error:
        raise DirectionError(
            f"{name}: cannot be read as a direction ({error}); make it again with `rhat find`"
        ) from error


def _known(metadata: Mapping[str, str] | None, name: str) -> dict[str, Any]:
    """What the metadata of a direction's file says, all but the vector."""
    metadata = metadata or {}
    if metadata.get("format") != FORMAT:
        raise DirectionError(
            f"{name}: not a direction written by rhat (format {metadata.get('format')!r}); use `rhat find`"
        )
    known = json.loads(metadata["rhat"])
    return {**known, "site": Site.parse(known["site"])}
