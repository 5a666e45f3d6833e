"""The table of formats, and reading and writing by it."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from rhat.artifacts.hub import fetched
from rhat.directions import Direction
from rhat.errors import DirectionError
from rhat.model.chat import ChatModel
from rhat.sites import Site
from rhat.vectors import formats
from rhat.vectors.format import Format, Given, Steering, Wanted


def _found() -> dict[str, Format]:
    modules = sorted(module.name for module in pkgutil.iter_modules(formats.__path__))
    records = [importlib.import_module(f"{formats.__name__}.{name}").FORMAT for name in modules]
    return {record.name: record for record in records}


FORMATS: dict[str, Format] = _found()
"""Formats of other tools by name; `rhat import` and `rhat export` use this table."""


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        DirectionError: if there is none.
    """
    if name not in FORMATS:
        raise DirectionError(f"format {name!r}: expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


def format_of(path: str | Path) -> Format:
    """The format of a file or folder, detected from its contents.

    Raises:
        DirectionError: if it is of none.
    """
    path = Path(path)
    if not path.exists():
        raise DirectionError(f"{path}: no such file or folder; give a file of one of the formats {', '.join(FORMATS)}")
    for record in FORMATS.values():
        if record.read is not None and record.matches(path):
            return record
    readable = ", ".join(name for name, record in FORMATS.items() if record.read is not None)
    raise DirectionError(f"{path}: of no known format; expected a file of {readable}")


def read(
    path: str | Path,
    *,
    format: str | None = None,
    site: Site | str | None = None,
    key: str | None = None,
    row: int | None = None,
    width: int | None = None,
) -> Given:
    """A vector from another tool's file, with what the file states about it.

    The format is told by what is in the file unless it is named. `site`, `key` and `row` say which vector is meant where the
    file holds several or does not say; `width` is the model's d_model. `hub:owner/name` is fetched from the hub.

    Raises:
        DirectionError: if the file cannot be read, or what is meant is not clear.
    """
    path = fetched(path)
    record = format_of(path) if format is None else format_named(format)
    if record.read is None:
        raise DirectionError(f"{record.name}: such files are only written; see docs/vectors.md")
    if not path.exists():
        raise DirectionError(f"{path}: no such file or folder")
    where = Site.parse(site) if isinstance(site, str) else site
    return record.read(path, Wanted(where, key, row, width))


def format_to_write(name: str, doing: Any) -> Format:
    """The format of that name, if it can express the intervention.

    Raises:
        DirectionError: if there is no such format.
        InterventionError: if it cannot say that, with the reason.
    """
    record = format_named(name)
    record.check_says(doing)
    return record


def write(
    format: str, doing: Any, direction: Direction, path: str | Path, model: ChatModel | None = None
) -> list[Path]:
    """Write an intervention for another tool and return the files, the main one first.

    Only the vector is written, never a model's weights. `model` is needed by formats that name the model's modules.

    Raises:
        DirectionError: if there is no such format, or the direction is of another model.
        InterventionError: if the format cannot say the intervention, with the reason.
    """
    record = format_to_write(format, doing)
    assert record.write is not None
    if record.modelled and model is None:
        raise DirectionError(f"{record.name}: names modules of the model, so the model is needed; give it")
    if model is not None:
        direction.check_fits(model)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return record.write(Steering(doing, direction, model), path)
