"""Direction: r̂, with its site, its scale and where it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.artifacts.hub import fetched
from rhat.artifacts.tensors import load_direction, save_direction
from rhat.directions.finders import finder_named, more_of
from rhat.directions.fitting import check_fits, key_of
from rhat.directions.given import Vector, unit_at
from rhat.directions.measured import Mean, Measured, check_numbers
from rhat.errors import ContrastError, DirectionError
from rhat.sites import Site


@dataclass(frozen=True, eq=False, repr=False)
class Direction:
    """A unit vector in the residual stream; positive projections lean towards refusal.

    unit           r̂, float32, length 1
    site           where it was found: its layer is where set_projection and add act
    position       prompt position it was read at, −1 the last prompt token
    norm           distance of the two means along r̂, in residual-stream units; the length of a raw difference of means
    mean_harmful   mean of r̂·x over harmful training prompts at site and position (the default target)
    mean_harmless  the same over harmless ones
                   Either may be None, unknown, for a vector that came without them: reading it raises DirectionError then
    method         the finder's name
    model          name and identity of the model it belongs to
    prompts        fingerprint of the contrast set
    extra          anything else worth keeping (versions, counts)
    """

    unit: Float[Tensor, " d_model"]
    site: Site
    position: int
    norm: float
    mean_harmful: Mean = Measured()  # noqa: RUF009
    mean_harmless: Mean = Measured()  # noqa: RUF009
    method: str = "mean_difference"
    model: Mapping[str, Any] = field(default_factory=dict)
    prompts: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.unit.ndim != 1 or not bool(torch.isfinite(self.unit).all()):
            raise DirectionError(f"direction: got shape {tuple(self.unit.shape)}, expected one finite vector")
        check_numbers(self)
        length = float(self.unit.double().norm())
        if abs(length - 1) > 1e-3:
            raise DirectionError(
                f"direction: got a vector of length {length:.4g}, expected a unit vector; divide by its length"
            )

    @classmethod
    def of(
        cls,
        vector: Vector,
        *,
        site: Site | str,
        model: Any = None,
        position: int = -1,
        mean_harmful: float | None = None,
        mean_harmless: float | None = None,
        method: str = "given",
        extra: Mapping[str, Any] | None = None,
    ) -> Direction:
        """A vector that is there already, of any length, as a direction at a site; it should point towards refusal.

        A length other than 1 is logged and kept as `norm`; a vector at resid_post.k becomes one at resid_pre.k+1.
        `model` is the ChatModel that it belongs to, or what `describe()` says of one. Means that are not given are unknown:
        `rhat.vectors.adopt` measures them, and until then what needs one raises.

        Raises:
            DirectionError: if it is no finite vector other than zero, is not of the residual stream, or does not fit the model.
            SiteError: if there is no such site.
        """
        unit, where, length = unit_at(vector, site)
        known = model if model is None or isinstance(model, Mapping) else model.describe()
        means = mean_harmful, mean_harmless
        made = cls(unit, where, position, length, *means, method=method, model=known or {}, extra=extra or {})
        return made if known is model else made.check_fits(model)

    @classmethod
    def from_groups(
        cls,
        positive: Float[Tensor, "n d_model"],
        negative: Float[Tensor, "m d_model"],
        site: Site,
        *,
        finder: str = "mean_difference",
        position: int = -1,
        model: Mapping[str, Any] | None = None,
        prompts: str = "",
        given: Mapping[str, Any] | None = None,
    ) -> Direction:
        """The direction that a finder of `FINDERS`, such as "random:3", makes of two groups of activations at a site and position.

        `given` holds what the finder needs beside them; what it says beside its vector is in `extra`. It points from `negative` to
        `positive`: `mean_harmful` is the mean projection of `positive`, in residual-stream units, and `norm` is the distance of
        the two means along the direction. Sums run in float64.

        Raises:
            ContrastError: if there is no such finder, it needs more rows, or the groups have the same mean along it.
        """
        return cls.from_means(
            finder_named(finder, given)(positive, negative),
            positive.double().mean(0),
            negative.double().mean(0),
            site,
            position=position,
            method=finder,
            model=model or {},
            prompts=prompts,
            extra=more_of(finder, positive, negative, given),
        )

    @classmethod
    def from_means(
        cls,
        vector: Float[Tensor, " d_model"],
        positive: Float[Tensor, " d_model"],
        negative: Float[Tensor, " d_model"],
        site: Site,
        *,
        position: int = -1,
        method: str = "mean_difference",
        model: Mapping[str, Any] | None = None,
        prompts: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> Direction:
        """A vector of any length with the mean activations of both groups: normalised, and turned so that `positive` is higher.

        Raises:
            ContrastError: if both groups have the same mean along it.
        """
        raw, positive, negative = (side.double().cpu() for side in (vector, positive, negative))
        length = float(raw.norm())
        gap = float((positive - negative) @ raw) / length if length > 0 else 0.0
        if gap == 0:
            raise ContrastError(
                f"{site}, position {position}: both groups have the same mean there; take a later layer"
            )
        unit = raw / length * (1 if gap > 0 else -1)
        return cls(
            unit=unit.float(),
            site=site,
            position=position,
            norm=abs(gap),
            mean_harmful=float(positive @ unit),
            mean_harmless=float(negative @ unit),
            method=method,
            model=model or {},
            prompts=prompts,
            extra=extra or {},
        )

    def __repr__(self) -> str:
        harmful, harmless = ("unknown" if m is None else f"{m:.3g}" for m in self.means)
        return (
            f"Direction({self.site}, position {self.position}, {self.method}, of {self.model.get('name', 'an unnamed model')}: "
            f"harmful mean {harmful}, harmless mean {harmless})"
        )

    @property
    def means(self) -> tuple[float | None, float | None]:
        """Mean projections of harmful and of harmless training prompts; None where unknown."""
        return self.__dict__["mean_harmful"], self.__dict__["mean_harmless"]

    def _with(self, **changes: Any) -> Direction:
        """As dataclasses.replace, unknown means included."""
        return replace(self, **{"mean_harmful": self.means[0], "mean_harmless": self.means[1], **changes})

    def __neg__(self) -> Direction:
        """The opposite direction, with its projections."""
        harmful, harmless = (None if m is None else -m for m in self.means)
        return self._with(unit=-self.unit, mean_harmful=harmful, mean_harmless=harmless)

    def __mul__(self, factor: float) -> Direction:
        """The direction of `factor` times the raw vector norm · unit; a negative factor turns it round.

        Raises:
            DirectionError: if the factor is 0 or not finite.
        """
        if not math.isfinite(factor) or factor == 0:
            raise DirectionError(f"direction: cannot be multiplied by {factor}; expected a finite number other than 0")
        return (self if factor > 0 else -self)._with(norm=self.norm * abs(factor))

    __rmul__ = __mul__

    def __add__(self, other: Direction) -> Direction:
        """The direction of the sum of both raw vectors norm · unit, at the same site and position of the same model.

        Means of projections are linear in the vector, so those of the sum follow from the two.

        Raises:
            DirectionError: if the sites, positions or models differ, or the sum is zero.
        """
        mine, others = ((d.site, d.position, d.model.get("revision_or_sha256")) for d in (self, other))
        if mine != others or len(self.unit) != len(other.unit):
            raise DirectionError(
                f"directions of {mine} and {others}: only those of one model, site and position add up"
            )
        raw = self.norm * self.unit.double() + other.norm * other.unit.double()
        length = float(raw.norm())
        if length < 1e-9 * (self.norm + other.norm):
            raise DirectionError("directions: their sum is zero, so it has no direction")

        def mean(a: float | None, b: float | None) -> float | None:
            return None if a is None or b is None else (self.norm * a + other.norm * b) / length

        return self._with(
            unit=(raw / length).float(),
            norm=length,
            mean_harmful=mean(self.means[0], other.means[0]),
            mean_harmless=mean(self.means[1], other.means[1]),
            method=self.method if self.method == other.method else f"{self.method}+{other.method}",
        )

    def cosine(self, other: Direction) -> float:
        """Cosine with another direction of the same width, whatever its site; float64.

        Raises:
            DirectionError: if the widths differ.
        """
        if len(self.unit) != len(other.unit):
            raise DirectionError(f"directions of widths {len(self.unit)} and {len(other.unit)}: expected one width")
        a, b = self.unit.double().cpu(), other.unit.double().cpu()
        return float(a @ b / (a.norm() * b.norm()))

    @property
    def layer(self) -> int:
        """The layer it was found at."""
        return self.site.layer

    @property
    def response_prefix(self) -> str:
        """The text with which answers were made to begin where it was found; `position` counts from its end."""
        return str(self.model.get("response_prefix", ""))

    @property
    def thinking(self) -> str:
        """Whether the model thought before its answers where it was found: off, on or skip."""
        return str(self.model.get("thinking", "off"))

    def describe(self) -> dict[str, Any]:
        """Where it was found and how long it is, as JSON may hold it."""
        return {
            "site": str(self.site),
            "layer": self.layer,
            "position": self.position,
            "norm": self.norm,
            "mean_harmful": self.means[0],
            "mean_harmless": self.means[1],
            "method": self.method,
        } | ({"found_on": self.model.get("name")} if "used_on" in self.extra else {})

    def project(self, activations: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch"]:
        """r̂·x in float64, in residual-stream units."""
        here = activations.cpu() if activations.device.type == "mps" else activations  # which has no float64
        return here.double() @ self.unit.to(here.device).double()

    def save(self, path: str | Path) -> Path:
        """Write a safetensors file with everything above in its metadata."""
        origin = {"model": dict(self.model), "prompts": self.prompts, "extra": dict(self.extra)}
        return save_direction(self.unit, {**self.describe(), **origin}, path)

    @classmethod
    def load(cls, path: str | Path, *, offline: bool = False) -> Direction:
        """Read what `save` wrote: a file, or `hub:owner/name`, what `rhat push` uploaded (`offline`: from the local cache alone).

        Raises:
            DirectionError: if it is missing, cannot be fetched, or is not a direction, or holds numbers that are not finite.
        """
        fields = load_direction(fetched(path, offline=offline))
        try:
            return cls(**fields)
        except DirectionError as error:
            raise DirectionError(f"{path}: {error}") from error

    def check_fits(self, model: Any, *, allow_other_model: bool = False) -> Direction:
        """This direction, if it belongs to `model` (a ChatModel): same width, layer in range, same weights.

        Weights are the same if they have the same hub revision or file hash, or the same hash of the loaded numbers. With
        `allow_other_model` a direction of another model comes back marked for this one; `describe` says where it was found.

        Raises:
            DirectionError: saying what differs.
        """
        if check_fits(len(self.unit), self.site, self.model, self.extra.get("used_on"), model, allow_other_model):
            return self
        return self._with(extra={**self.extra, "used_on": key_of(model)})
