"""Checks made before work begins: that the result can be written to its destination."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from rhat.errors import ArtifactError

MEGABYTE = 1 << 20


def check_output(path: Path, *, overwrite: bool, needs: int = MEGABYTE) -> None:
    """Fail now rather than later: an existing file, a folder that cannot be written, a full disk.

    Nothing is created. `needs` is the number of bytes that should be free.

    Raises:
        ArtifactError: saying what is in the way.
    """
    if path.is_dir():
        raise ArtifactError(f"{path}: is a folder; give the name of a file, such as {path / 'direction.safetensors'}")
    if path.exists() and not overwrite:
        raise ArtifactError(f"{path}: is there already; replace it with --overwrite, or give another --out")
    check_folder(path.parent, needs=needs)


def check_folder(folder: Path, *, needs: int = MEGABYTE) -> None:
    """Like `check_output`, for a folder that may not exist yet."""
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise ArtifactError(f"{folder}: cannot be made, {existing} is a file; give another folder")
    try:
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot be written ({error.strerror}); give another folder") from error
    if free < needs:
        raise ArtifactError(
            f"{folder}: no space left on the disk ({free / MEGABYTE:.1f} MB free, "
            f"{needs / MEGABYTE:.0f} MB are needed); free some, or give another folder"
        )
