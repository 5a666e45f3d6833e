"""The identity of files of weights: hashes of their bytes, or of samples of them."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from rhat.artifacts.files import replace_bytes
from rhat.model.catalogue import cache_folder, sha256_of

log = logging.getLogger(__name__)

SAMPLES = 256  # places at which a file of weights is read for its identity
SAMPLED = 4096  # bytes at each


def folder_identity(path: Path) -> str:
    """A cheap identity of a local folder: its configuration, its files' names and sizes, and samples of their bytes.

    A fine-tune has files of the same names and sizes, but changes numbers everywhere.
    """
    digest = hashlib.sha256((path / "config.json").read_bytes())
    for file in sorted([*path.glob("*.safetensors"), *path.glob("*.bin")]):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as weights:
            for i in range(SAMPLES):
                weights.seek(i * max(size - SAMPLED, 0) // (SAMPLES - 1))
                digest.update(weights.read(SAMPLED))
    return digest.hexdigest()


def adapter_identity(adapter: str | Path) -> str:
    """The hash of a local adapter's files; a hub's name."""
    folder = Path(adapter)
    files = sorted([*folder.glob("adapter_config.json"), *folder.glob("adapter_model.*")]) if folder.is_dir() else []
    return " ".join(sha256_of(file) for file in files) or str(adapter)


def remembered_sha256(path: Path) -> str:
    """A file's SHA-256, remembered in the cache under its path, size and time of change."""
    stat = path.stat()
    key = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
    notes = cache_folder() / "hashes.json"
    try:
        known: dict[str, str] = json.loads(notes.read_text())
    except (OSError, ValueError):
        known = {}
    if key not in known:
        known[key] = sha256_of(path)
        try:
            replace_bytes(notes, json.dumps(known).encode())
        except OSError as error:
            log.warning("%s: cannot remember the hash (%s)", notes, error.strerror)
    return known[key]
