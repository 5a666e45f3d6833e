"""Where the weights of a model name are, and what identifies them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rhat.errors import ModelError
from rhat.model.catalogue import CATALOGUE, Progress, cache_folder, download, is_converted
from rhat.model.gguf import convert
from rhat.model.weightfiles import folder_identity, remembered_sha256


@dataclass(frozen=True)
class Source:
    """Where a model's files are, and what is known of them before they are read.

    place          a folder, or a repository's name on the hub
    identity       what pins the weights: a hash of files, or the revision that was asked for (empty: the newest)
    weight_format  how the weights are stored, in words
    on_hub         whether `place` is a name on the hub
    """

    place: str
    identity: str
    weight_format: str
    on_hub: bool = False


def names() -> str:
    """The names of the catalogue, for messages."""
    return ", ".join(CATALOGUE)


def locate(name: str, revision: str | None, offline: bool, progress: Progress | None) -> Source:
    """The source of a catalogue name, `.gguf` file, folder or hub id; what is not in the cache yet is downloaded and converted,
    except from the hub, which transformers reads itself.

    Raises:
        ModelError: if there is no such model.
    """
    if name in CATALOGUE:
        entry = CATALOGUE[name]
        return _gguf(entry.sha256, lambda: download(entry, offline=offline, progress=progress), progress)
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"{name}: no such file; give a GGUF file, a folder, a hub id, or one of {names()}")
        return _gguf(remembered_sha256(path), lambda: path, progress)
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ModelError(f"{name}: a folder without config.json; give the folder that holds a model's config.json")
        return Source(str(path), folder_identity(path), "safetensors")
    if path.is_file():
        raise ModelError(f"{name}: not a model; expected a .gguf file, a folder, a hub id, or one of {names()}")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+|[\w.-]+", name) or name.startswith("."):
        raise ModelError(f"{name}: no such file or folder; give a GGUF file, a folder, a hub id, or one of {names()}")
    return Source(name, revision or "", "safetensors", on_hub=True)


def _gguf(sha256: str, file: Callable[[], Path], progress: Progress | None) -> Source:
    """A GGUF file of that hash as a folder of the cache; `file` is called only if it is not there yet."""
    folder = cache_folder() / "models" / sha256[:16]
    if not is_converted(folder):
        convert(file(), folder, sha256, progress)
    return Source(str(folder), sha256, "GGUF, dequantised to bfloat16")


def cached_commit(name: str, revision: str | None) -> str | None:
    """The commit of a hub model in the hub's cache, which is a folder's name there; None if it was never fetched."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(config).parent.name if isinstance(config, str) else None
