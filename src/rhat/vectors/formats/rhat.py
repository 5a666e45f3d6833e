"""rhat's own direction files, with or without means."""

from __future__ import annotations

from pathlib import Path

from rhat.artifacts.tensors import FORMAT as OWN
from rhat.directions import Direction
from rhat.errors import DirectionError
from rhat.vectors.format import Format, Given, Wanted
from rhat.vectors.formats.safetensors import metadata_of


def is_own(path: Path) -> bool:
    """Whether rhat wrote the file."""
    return metadata_of(path).get("format") == OWN


def read(path: Path, wanted: Wanted) -> Given:
    """The direction with all that it says.

    Raises:
        DirectionError: if it is at another site than is wanted.
    """
    r = Direction.load(path)
    if wanted.site not in (None, r.site):
        raise DirectionError(f"{path}: is at {r.site}, not at {wanted.site}; leave --site out")
    return Given(r.norm * r.unit.double(), r.site, r.position, *r.means, r.method, r.model, r.extra)


FORMAT = Format(
    "rhat",
    tools="rhat",
    holds="`direction.safetensors` of `rhat find`, or of `Direction.save` without means",
    lacks="`Direction.save` writes them",
    matches=is_own,
    read=read,
)
