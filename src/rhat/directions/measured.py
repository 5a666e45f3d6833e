"""Measured: a number of a direction that may be unknown, and then cannot be read by mistake."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload, runtime_checkable

from rhat.errors import DirectionError
from rhat.sites import Site


@runtime_checkable
class Located(Protocol):
    """What is known of a direction here: it has a site, which messages name."""

    @property
    def site(self) -> Site:
        """Where it was found."""


Known = TypeVar("Known", bound=Located)


class Measured:
    """A field of Direction that is a float, or None where nobody measured it; reading it raises then.

    A vector that comes without the prompts it was made from has no mean projections. NaN or 0 in their place would go into
    interventions, scales and thresholds unseen, so an unknown mean gives one clear error wherever it is needed.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: Any) -> Measured: ...
    @overload
    def __get__(self, instance: Located, owner: Any) -> float: ...
    def __get__(self, instance: Located | None, owner: Any) -> Measured | float:
        if instance is None:
            raise AttributeError(self.name)  # so that the dataclass sees a field without a default
        value: float | None = instance.__dict__[self.name]
        if value is None:
            side = self.name.removeprefix("mean_")
            raise DirectionError(
                f"direction at {instance.site}: the mean projection of {side} prompts is unknown; measure it with "
                "`rhat import FILE --model MODEL` (rhat.vectors.adopt in Python), or give the number that is needed"
            )
        return value

    def __set__(self, instance: Located, value: float | None) -> None:
        instance.__dict__[self.name] = value


def check_numbers(direction: Located) -> None:
    """Raise unless its norm, and each of its means that is known, is a finite number.

    Raises:
        DirectionError: naming the one that is not.
    """
    for name in ("norm", "mean_harmful", "mean_harmless"):
        value = direction.__dict__[name]
        try:
            finite = (value is None and name != "norm") or math.isfinite(value)
        except TypeError:  # no number at all
            finite = False
        if not finite:
            raise DirectionError(f"direction: got {name} {value!r}, expected a finite number; find it again")


def check_measured(direction: Known) -> Known:
    """The direction, if both its means are known.

    Raises:
        DirectionError: if one is unknown.
    """
    for name in ("mean_harmful", "mean_harmless"):
        getattr(direction, name)  # raises where it is unknown
    return direction


if TYPE_CHECKING:
    Mean = Measured
else:
    Mean = float | None  # what a mean is given as; checkers of types at run time read this
