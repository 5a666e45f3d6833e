"""What the code of Arditi et al. (2024) leaves: `direction.pt`, and `direction_metadata.json` with its layer and position.

Its layers are block inputs, as ours: it reads and edits before block `layer`. Positions count from the end.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from rhat.errors import DirectionError
from rhat.sites import Site
from rhat.vectors.choosing import site_of, vector_of
from rhat.vectors.format import Format, Given, Wanted
from rhat.vectors.pickles import is_pickle, unpickled

METADATA, VECTOR = "direction_metadata.json", "direction.pt"


def _files(path: Path) -> tuple[Path, Path]:
    return (path / VECTOR, path / METADATA) if path.is_dir() else (path, path.with_name(METADATA))


def matches(path: Path) -> bool:
    """Whether the metadata stands beside the file, or in the folder."""
    vector, metadata = _files(path)
    return is_pickle(vector) and metadata.is_file()


def read(path: Path, wanted: Wanted) -> Given:
    """The raw difference of means at the input of block `layer`, read at position `pos`.

    Raises:
        DirectionError: if either file cannot be read.
    """
    vector, metadata = _files(path)
    try:
        said = json.loads(metadata.read_text(encoding="utf-8"))
        layer, position = int(said["layer"]), int(said["pos"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DirectionError(f"{metadata}: expected JSON with layer and pos ({error!r})") from error
    if position >= 0:
        raise DirectionError(f"{metadata}: got pos {position}, expected one from the end, −1 the last token")
    held = unpickled(vector)
    if not isinstance(held, Tensor):
        raise DirectionError(f"{vector}: got {type(held).__name__}, expected one tensor")
    site = site_of(path, {Site("resid_pre", layer): held}, wanted)
    return Given(vector_of(vector, held, wanted), site, position, method="mean_difference")


FORMAT = Format(
    "refusal_direction",
    tools="the code of Arditi et al. (2024)",
    holds="the folder, or its `direction.pt` with `direction_metadata.json` beside it: layer and position are read",
    lacks="its files are made by its own pipeline",
    matches=matches,
    read=read,
)
