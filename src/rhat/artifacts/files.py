"""Files that appear whole or not at all, and JSON of finite numbers."""

import math
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from rhat.errors import ArtifactError


def replace_text(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader sees the old file or the new one, never a part of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp gives 0600, but results are there to be read
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def replace_bytes(path: Path, data: bytes) -> None:
    """Write a file in one step, its folder too: it appears whole or not at all; an OSError passes through."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file of a study in one step, its folder too.

    Raises:
        ArtifactError: if it cannot be written, for example for want of space.
    """
    try:
        replace_bytes(path, content.encode("utf-8") if isinstance(content, str) else content)
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder with --out, "
            "then run the same command again: finished stages are kept"
        ) from error


def made_by() -> str:
    """The version of rhat that writes a file, such as 0.1.0."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rhat")
    except PackageNotFoundError:
        return "not installed as a package"


def no_constant(name: str) -> float:
    """For `json.loads`: NaN and Infinity are not JSON."""
    raise ValueError(f"{name} is not JSON")


def finite_number(text: str) -> float:
    """For `json.loads`: 1e999 is JSON, but no number that can be reckoned with."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is beyond all numbers")
    return value
