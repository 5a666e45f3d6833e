"""Proofs kept: a model's layout, and how it may be run, as runs of the model proved them before, beside rhat's other caches.

A proof holds for the same weights, precision and device, computed by the same code: all of that is in its key. Where weights
cannot be told by a hash, or code comes with the model, nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from rhat.artifacts.files import write_whole
from rhat.errors import ArtifactError
from rhat.model.catalogue import cache_folder
from rhat.model.layout import BlockParts, Layout

log = logging.getLogger(__name__)

PLACES = ("attention", "attn_proj", "attn_out", "mlp_out", "other_out")


@cache
def versions() -> tuple[str, ...]:
    """What computes: torch, transformers, and rhat down to its source, which changes while it is worked on."""
    from importlib.metadata import version

    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\n" + path.read_bytes())
    return (version("rhat"), digest.hexdigest(), version("torch"), version("transformers"))


def key_of(hf: Any, identity: str, *more: Any) -> str | None:
    """The name of a proof of these weights; None where none may be kept: weights that are known by a name alone, some of
    them on disk or on several devices, or code that came with the model."""
    foreign = not type(hf).__module__.startswith("transformers.")
    if foreign or getattr(hf, "hf_device_map", None) or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", identity):
        return None
    said = [identity, type(hf).__name__, str(hf.dtype), str(hf.device.type), hf.training, versions(), more]
    return hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()[:32]


def proved(key: str | None, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` proves, as plain values: kept under a key, and looked up the next time."""
    if key is None:
        return make()
    path = cache_folder() / "proofs" / f"{key}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        raise ValueError("not an object")
    except FileNotFoundError:
        pass
    except (OSError, ValueError):
        log.warning("%s: damaged; the model is tried again", path)
    found = make()
    try:
        write_whole(path, json.dumps(found))
    except ArtifactError as error:
        log.info("%s; the model is tried again next time", error)
    return found


def as_values(layout: Layout) -> dict[str, Any]:
    """A layout as plain values: modules by their names."""
    parts = []
    for part in layout.parts:
        names = {module: name for name, module in part.block.named_modules(remove_duplicate=False)}
        places = {place: None if (m := getattr(part, place)) is None else names[m] for place in PLACES}
        parts.append(places | {name: getattr(part, name) for name in ("names", "sum", "error", "scales", "carry")})
    plain = ("base_name", "blocks_name", "n_layers", "d_model", "n_heads", "head_dim", "residual_error", "tuple_output")
    return {name: getattr(layout, name) for name in plain} | {"parts": parts}


def from_values(hf: nn.Module, held: dict[str, Any]) -> Layout:
    """The layout that `as_values` wrote down, of the same model in memory.

    Raises:
        AttributeError, KeyError, TypeError: if it is of another one.
    """
    blocks = hf.get_submodule(held["blocks_name"])
    parts = []
    for block, said in zip(blocks.children(), held["parts"], strict=True):
        modules: dict[str, Any] = {
            place: None if (name := said[place]) is None else block.get_submodule(name) for place in PLACES
        }
        rest = {name: said[name] for name in ("sum", "error", "carry")}
        parts.append(BlockParts(block, **modules, names=tuple(said["names"]), scales=tuple(said["scales"]), **rest))
    plain = {name: value for name, value in held.items() if name not in ("parts", "layout")}
    return Layout(base=hf.get_submodule(held["base_name"]), parts=tuple(parts), **plain)
