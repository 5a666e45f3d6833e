"""Pieces: finished parts of a long piece of work, in a folder, each written as soon as it is done."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
import shutil
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from rhat.artifacts.files import write_whole
from rhat.capture import Moments
from rhat.errors import ArtifactError
from rhat.generation import Completion
from rhat.model.chat import ChatModel
from rhat.model.decoder import slow
from rhat.model.proofs import versions
from rhat.model.work import Work, add, counting
from rhat.scoring import tasks
from rhat.scoring.tokens import RefusalToken

log = logging.getLogger(__name__)
Made = TypeVar("Made")

MARKER = "made-by"
SUFFIX = ".piece"


def _opened(path: Path) -> tuple[Any, Work]:
    """What a piece holds, and the work that it took."""
    digest, payload = path.read_bytes().split(b"\n", 1)
    if digest.decode() != hashlib.sha256(payload).hexdigest():
        raise ValueError("its checksum is wrong")
    with torch.serialization.safe_globals(_classes()):
        value, work = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return value, work


class UnkeepableError(TypeError):
    """A value that cannot be told from another by what it holds, such as a closure."""


class Pieces:
    """A folder of finished pieces of work, each under a key that says all that decides it.

    Pieces of another model, or that other versions of the code made, are thrown away when the folder is opened; damaged ones
    are recomputed. Both are logged. Where the folder cannot be written that is logged once, and nothing more is kept.

    held  how many pieces of an earlier run there were
    used  how many of them were used; `made`: how many this run has added
    """

    def __init__(self, folder: Path, made_by: str) -> None:
        self.folder, self.made_by = Path(folder), made_by
        self.used = self.made = 0
        self._full = False
        there = sorted(self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else []
        try:
            same = (self.folder / MARKER).read_text(encoding="utf-8") == made_by
        except (OSError, ValueError):
            same = False
        if there and not same:
            log.warning(
                "%s: holds %d pieces that another model or version made; they are thrown away", folder, len(there)
            )
            self.remove()
            there = []
        self.held = len(there)
        if there:
            log.info("%s: going on from %d finished pieces of an interrupted run", folder, self.held)

    @classmethod
    def of(cls, folder: Path, model: ChatModel) -> Pieces:
        """The pieces of a model's work in a folder."""
        return cls(folder, fingerprint(model))

    def load(self, key: str) -> Any:
        """What was kept under a key, or None; its tensors are on the CPU. The work that it took counts as done now."""
        path = self.folder / (key + SUFFIX)
        try:
            value, work = _opened(path)
        except FileNotFoundError:
            return None
        except Exception as error:
            log.warning("%s: damaged (%s); this piece is computed again", path, " ".join(str(error).split())[:120])
            return None
        self.used += 1
        add(work)
        return value

    def save(self, key: str, value: Any, work: Work | None = None) -> None:
        """Keep something under a key, with the work that it took."""
        if self._full:
            return
        buffer = io.BytesIO()
        torch.save((value, work or Work()), buffer)
        payload = buffer.getvalue()
        try:
            if not self.made:
                write_whole(self.folder / MARKER, self.made_by)
            write_whole(self.folder / (key + SUFFIX), hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
        except ArtifactError as error:
            self._full = True
            log.warning("%s; this run goes on, but an interruption will cost what it has done", error)
            return
        self.made += 1

    def piece(self, name: str, decided_by: Any, make: Callable[[], Made]) -> Made:
        """What `make()` gives, kept under a name and all that decides it."""
        key = key_of(name, decided_by)
        found: Made | None = self.load(key)
        if found is None:
            with counting() as done:
                found = make()
            self.save(key, found, done.total)
        return found

    def work(self) -> Work:
        """The work that the pieces of an earlier run took."""
        total = Work()
        for path in self.folder.glob(f"*{SUFFIX}") if self.held else ():
            with suppress(Exception):  # one that is damaged is told when it is needed
                total += _opened(path)[1]
        return total

    def remove(self) -> None:
        """Throw all pieces away, and the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.used = self.made = 0

    def __repr__(self) -> str:
        return f"Pieces({str(self.folder)!r}, {self.held} held, {self.used} used, {self.made} made)"


def key_of(name: str, *decided_by: Any) -> str:
    """A file's name for a piece: what it is called, and a hash of the contents of all that decides it.

    Raises:
        UnkeepableError: if something among that has no contents to go by.
    """
    digest = hashlib.sha256()
    _feed(digest.update, decided_by)
    return f"{name}-{digest.hexdigest()[:32]}"


@cache
def _classes() -> list[Any]:
    """What a piece may hold besides tensors, numbers and texts; nothing else is opened."""
    return [Moments, Completion, tasks.Scores, tasks.Answers, tasks.Averaged, RefusalToken, Work]


def _feed(update: Callable[[bytes], None], value: Any) -> None:
    """Give a hash the contents of a value, whatever objects it shares with others."""
    if value is None or isinstance(value, bool | int | str | bytes):
        update(f"{type(value).__name__}:{value!r};".encode())
    elif isinstance(value, float):
        update(b"float:" + struct.pack("<d", value))
    elif isinstance(value, torch.Tensor):
        bare = value.detach().cpu().contiguous()
        update(f"tensor:{bare.dtype}:{tuple(bare.shape)};".encode())
        update(bare.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray):
        update(f"array:{value.dtype}:{value.shape};".encode() + value.tobytes())
    elif isinstance(value, Enum | torch.dtype | torch.device | range):
        update(f"{type(value).__name__}:{value!r};".encode())
    elif isinstance(value, list | tuple):
        update(f"{type(value).__name__}:{len(value)};".encode())
        for part in value:
            _feed(update, part)
    elif isinstance(value, Mapping):
        update(f"mapping:{len(value)};".encode())
        for pair in value.items():
            _feed(update, pair)
    elif isinstance(value, partial):
        _feed(update, ("partial", value.func, value.args, value.keywords))
    elif callable(value) and hasattr(value, "__qualname__"):
        if "<" in value.__qualname__:
            raise UnkeepableError(f"{value.__qualname__} has no contents to go by")
        update(f"{value.__module__}.{value.__qualname__};".encode())
    elif "__reduce__" in vars(type(value)):
        _feed(update, value.__reduce__()[:2])
    elif dataclasses.is_dataclass(value):
        _feed(update, (type(value), [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]))
    else:
        raise UnkeepableError(f"{type(value).__name__} has no contents to go by")


# What made them


def fingerprint(model: ChatModel) -> str:
    """All that decides a model's numbers besides its input: weights, precision, layout of batches, and the code that runs it."""
    decided_by = (
        model.identity if model.identity != "in memory" else _sampled(model),
        str(model.dtype),
        model.device.type,
        model.template_length,
        {key: int(value) for key, value in model.room.items()},
        str(getattr(model.hf.config, "_attn_implementation", "")),
        slow(),
        versions(),
    )
    return key_of("pieces", decided_by)


def _sampled(model: ChatModel) -> str:
    """Weights that came from no file: up to 256 numbers of each, every bit of them, unlike those of `ChatModel.weights`."""
    digest = hashlib.sha256()
    for name, weights in model.hf.named_parameters():
        digest.update(name.encode())
        if weights.device.type != "meta":
            flat = weights.detach().reshape(-1)
            with suppress(RuntimeError, TypeError):  # packed weights of a kind that is not seen as bytes
                digest.update(flat[:: max(1, len(flat) // 256)].cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
