"""Finders: (positive[n, d], negative[m, d]) → vector[d], pointing from negative to positive.

A new finder is one function in a file here and one record in `rhat.vocabulary.finders`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from rhat.directions.finders.components import lat
from rhat.directions.finders.controls import random_direction
from rhat.directions.finders.means import mean_difference
from rhat.directions.finders.probes import logistic
from rhat.errors import ContrastError
from rhat.vocabulary.finders import FINDER_KINDS, FinderKind

__all__ = [
    "FINDERS",
    "Finder",
    "check_finder",
    "finder_named",
    "lat",
    "logistic",
    "mean_difference",
    "more_of",
    "random_direction",
]


@runtime_checkable
class Finder(Protocol):
    """Turns two groups of activations into one vector, not normalised; options are bound beforehand."""

    def __call__(
        self, positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
    ) -> Float[Tensor, " d_model"]:
        """The vector from `negative` to `positive`."""
        ...


def _function(kind: FinderKind, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(import_module(f"{__name__}.{kind.module}"), name)
    return found


FINDERS: dict[str, Callable[..., Tensor]] = {kind.name: _function(kind, kind.name) for kind in FINDER_KINDS.values()}
"""The finders that `rhat.find` takes, by name. Some take more by keyword, as their records in `rhat.vocabulary` say."""


def check_finder(written: str) -> FinderKind | None:
    """The record of a finder as it is written, "random:3"; None for one that was put into FINDERS without a record.

    Raises:
        ContrastError: if there is none, with those there are, or what follows the colon is not what it takes.
    """
    _options(written)
    return FINDER_KINDS.get(written.partition(":")[0])


def finder_named(written: str, given: Mapping[str, Any] | None = None) -> Finder:
    """The finder of that name, with the option after its colon and what it needs of `given` bound.

    Raises:
        ContrastError: as `check_finder`, or if something that it needs is not given.
    """
    options, kind = _options(written), check_finder(written)
    return partial(FINDERS[written.partition(":")[0]], **options, **_needed(kind, given))


def more_of(
    written: str,
    positive: Float[Tensor, "n d_model"],
    negative: Float[Tensor, "m d_model"],
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a finder says beside its vector, as JSON may hold it: a spectrum, a shrinkage; nothing of most.

    Raises:
        ContrastError: as `finder_named`.
    """
    kind = check_finder(written)
    if kind is None or not kind.report:
        return {}
    return {kind.report: _function(kind, kind.report)(positive, negative, **_needed(kind, given))}


def _needed(kind: FinderKind | None, given: Mapping[str, Any] | None) -> dict[str, Any]:
    needs = () if kind is None else kind.needs
    lacking = [name for name in needs if (given or {}).get(name) is None]
    if kind is not None and lacking:
        raise ContrastError(
            f"finder {kind.name!r}: needs {' and '.join(lacking)} beside the two groups; give "
            f"`given={{{', '.join(f'{name!r}: …' for name in lacking)}}}`"
        )
    return {name: (given or {})[name] for name in needs}


def _options(written: str) -> dict[str, Any]:
    """The option after the colon, by its keyword."""
    name, colon, said = written.partition(":")
    if name not in FINDERS:
        raise ContrastError(f"finder {name!r}: expected one of {', '.join(FINDERS)}")
    kind = FINDER_KINDS.get(name)
    option = None if kind is None else kind.option
    if option is None:
        if colon:
            raise ContrastError(f"finder {written!r}: {name} takes nothing after a colon; write {name}")
        return {}
    if not said:
        if option.default is None:
            raise ContrastError(
                f"finder {name!r}: expected {option.meaning} after a colon, {name}:{option.name.upper()}"
            )
        return {}
    if option.default is None:
        return {option.name: said}
    try:
        value = int(said)
    except ValueError:
        value = -1
    if value < 0:
        raise ContrastError(f"finder {written!r}: expected {option.meaning}, a whole number from 0 on, after the colon")
    return {option.name: value}
