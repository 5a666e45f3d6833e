"""Placement: which weights are kept on which device, and which stay on disk, when memory is limited."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rhat.errors import ModelError
from rhat.model.catalogue import cache_folder

UNITS = {"": 1, **{p + i: k**n for n, p in enumerate("KMGT", 1) for i, k in (("", 1000), ("I", 1024))}}


def bytes_of(memory: str | int) -> int:
    """Bytes of a text such as "8GB", "512MiB" or "1.5 GB".

    Raises:
        ModelError: if it is none, or nothing.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([A-Z]*?)B?\s*", str(memory).upper())
    size = int(float(found[1]) * UNITS[found[2]]) if found and found[2] in UNITS else 0
    if size < 1:
        raise ModelError(f"memory {memory!r}: expected a number and a unit, such as 8GB or 512MiB")
    return size


def weights_within(limit: int, device: str | torch.device | None = None) -> dict[int | str, int]:
    """How many bytes of weights each device may hold for good, where main memory is limited: half of it, for the rest is
    needed to work. GPUs are filled first, unless `device` is the CPU."""
    from accelerate.utils import get_max_memory

    room: dict[int | str, int] = {"cpu": limit // 2}
    if device is None or torch.device("cuda" if device == "auto" else device).type != "cpu":
        room = {key: free for key, free in get_max_memory().items() if key != "cpu"} | room
    return room


def kind_of(device: str | torch.device | None) -> str:
    """The kind of device on which a model runs: the one named; without a name the GPU where there is one; for "auto" also
    Apple's MPS, where there is one and no other GPU.

    Raises:
        ModelError: if there is no such kind of device.
    """
    if device is not None and device != "auto":
        try:
            return torch.device(device).type
        except RuntimeError as error:
            raise ModelError(f"device {device!r}: expected cpu, cuda, cuda:1, mps or auto") from error
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if device == "auto" and torch.backends.mps.is_available() else "cpu"


@dataclass(frozen=True)
class Placement:
    """What accelerate is told, empty for a model that is put whole on one device.

    limit      bytes of main memory that the process may take; None is no limit
    arguments  of from_pretrained
    """

    limit: int | None
    arguments: Mapping[str, Any]


def place(
    device: str | torch.device | None,
    device_map: str | dict[str, Any] | None,
    max_memory: str | int | dict[int | str, Any] | None,
    offload_folder: str | Path | None,
    taken: int,
) -> Placement:
    """Where weights go under these options of `load`; `taken` bytes of the memory are in use already (a tokenizer may take a
    few hundred megabytes).

    Raises:
        ModelError: if `max_memory` is no amount of memory.
    """
    if device == "auto" and not (kind_of(device) == "mps" and device_map is None and max_memory is None):
        device_map = device_map or "auto"
    if device_map is None and max_memory is None:
        return Placement(None, {})
    if max_memory is None or isinstance(max_memory, dict):  # accelerate's own words: taken as they are
        options = {"device_map": device_map or "auto", "max_memory": max_memory, "offload_folder": offload_folder}
        return Placement(None, options)
    limit = max(bytes_of(max_memory) - max(taken, 0), 2)
    return Placement(
        limit,
        {
            "device_map": device_map or "auto",
            "max_memory": weights_within(limit, device),
            "offload_folder": _scratch() if offload_folder is None else offload_folder,
        },
    )


def _scratch() -> str:
    """A folder for weights that must be written again to be read piecemeal; gone when the process ends."""
    folder = tempfile.mkdtemp(prefix="rhat-offload-", dir=_made(cache_folder()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be made ({error.strerror}); set RHAT_CACHE") from error
    return folder


def resident_memory() -> int:
    """Bytes of main memory that this process takes."""
    import psutil

    return int(psutil.Process().memory_info().rss)
