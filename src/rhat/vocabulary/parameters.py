"""Parameters: the number that an operator may take, and which way it goes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from rhat.reprs import one_line

Side = Literal["refusal", "answers"]
"""What an intervention moves answers towards."""


@dataclass(frozen=True)
class Parameter:
    """The one number that an operator may take.

    name     its name in the library, in requests and in results
    symbol   what formulas call it
    label    what a page calls it
    unit     "residual-stream units", "degrees", or "" for a plain factor
    default  its value where none is given; None: a mean projection of the direction's training prompts
    span     the smallest and the largest value that a slider offers; None: it is read by the means, as α
    origin   the mean at which α is 0, "harmless"; "": it is a length, and α is 0 where it is 0
    mean     whose mean projection the default is, "harmful" or "harmless"
    """

    name: str
    symbol: str
    label: str
    unit: str = "residual-stream units"
    default: float | None = None
    span: tuple[float, float] | None = None
    origin: str = ""
    mean: str = "harmful"

    __repr__ = one_line

    @property
    def by_means(self) -> bool:
        """Whether it is a number on the scale of projections, which a mean or α may stand for."""
        return self.span is None

    @property
    def default_text(self) -> str:
        """The default in words."""
        if self.default is None:
            return f"mean projection of {self.mean} training prompts"
        return f"{self.default:g} {self.unit}".strip()

    def at(self, alpha: float, harmful: float, harmless: float) -> float:
        """The number at α, given the two mean projections: (1 − α) harmless + α harmful; of a length, α (harmful − harmless).

        α = 0 is the harmless mean and α = 1 the harmful one, to the bit. With a raw difference of means this is the α of affine
        concept editing (Marshall et al. 2024, arXiv 2411.09003).
        """
        return (1 - alpha) * harmless + alpha * harmful if self.origin else alpha * (harmful - harmless)


@dataclass(frozen=True)
class Way:
    """Which way an operator's number goes, for whoever looks for the dose at which it does so much and no more.

    more         what a larger number moves towards
    still        the number at which nothing changes; infinite: nothing changes far enough away; None: there is none
    least, most  the ends of what is looked at

    An amount is a distance from `still`, or from a `start` where there is none: above 0, and more of it does more.
    """

    more: Side
    still: float | None = 0.0
    least: float = -math.inf
    most: float = math.inf

    __repr__ = one_line

    def number(self, amount: float, side: Side, start: float = 0.0, scale: float = 1.0) -> float:
        """The operator's number for an amount above 0; from an infinite `still` the way is logarithmic, in units of `scale`."""
        sign = self._sign(side)
        if self.still is not None and math.isinf(self.still):
            return start + sign * scale * math.log(amount)
        return (start if self.still is None else self.still) + sign * amount

    def room(self, side: Side, start: float = 0.0) -> float:
        """The largest amount that there is in that direction; 0: the operator does not go there."""
        sign = self._sign(side)
        if self.still is not None and math.isinf(self.still):
            return math.inf if sign * self.still < 0 else 0.0
        end = self.most if sign > 0 else self.least
        return max(0.0, sign * (end - (start if self.still is None else self.still)))

    def _sign(self, side: Side) -> int:
        return 1 if side == self.more else -1


TARGET = Parameter("target", "t", "Target t of the projection", origin="harmless")
COEFFICIENT = Parameter("coefficient", "c", "Coefficient c")
CEILING = Parameter("ceiling", "t", "Ceiling t of the projection", origin="harmless", mean="harmless")
ANGLE = Parameter("angle", "θ", "Angle θ to r̂, in degrees", unit="degrees", default=90.0, span=(0.0, 180.0))
