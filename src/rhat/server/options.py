"""What a request's `rhat` field means on this server: names become directions, numbers become interventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from rhat.directions import Direction
from rhat.errors import RhatError
from rhat.guard import Alarm, Calibration, Conditional, check_position, check_prefix
from rhat.interventions import Intervention, intervene
from rhat.model import ChatModel, Layout
from rhat.server.errors import RequestError, ServerError
from rhat.server.schemas import InterventionSpec, RhatOptions


@dataclass(frozen=True, eq=False)
class Part:
    """One intervention of a request, the gate it stands behind if any, and what identifies it."""

    key: tuple[Any, ...]
    direction: str
    intervention: Intervention
    gate: Conditional | None
    layout: Layout

    def describe(self) -> dict[str, Any]:
        """What the response says of it, with what this model's blocks leave out of reach."""
        what = self.intervention if self.gate is None else self.gate
        return {"direction": self.direction, **what.describe(self.layout)}


@dataclass(frozen=True, eq=False)
class ResolvedOptions:
    """Interventions of a request, and the direction on which its tokens are projected, if any."""

    parts: tuple[Part, ...] = ()
    projected: str | None = None


class Directions:
    """The directions that a server knows by name, and their calibrations."""

    def __init__(
        self,
        model: ChatModel,
        directions: Mapping[str, Direction],
        calibrations: Mapping[str, Calibration] | None = None,
    ) -> None:
        self.model = model
        self.known = dict(directions)
        self.calibrations = dict(calibrations or {})
        self.alarms = {name: Alarm(calibration) for name, calibration in self.calibrations.items()}
        for name, direction in self.known.items():
            direction.check_fits(model)
            if direction.response_prefix == model.response_prefix:
                check_position(model, direction)
            if name in self.calibrations:
                check_prefix(model, direction)
                self.calibrations[name].check_belongs(direction)
        unknown = sorted(set(self.calibrations) - set(self.known))
        if unknown:
            raise ServerError(
                f"calibration of {', '.join(unknown)}: there is no direction of that name; the names are {self}"
            )

    def __str__(self) -> str:
        return ", ".join(self.known) or "none: start the server with --direction"

    def named(self, name: str | None, param: str = "direction") -> tuple[str, Direction]:
        """The direction of that name; without one the first.

        Raises:
            RequestError: if there is none.
        """
        if name is None:
            if not self.known:
                raise RequestError(
                    400, f"this server has no directions; start it with --direction FILE (known: {self})", param=param
                )
            name = next(iter(self.known))
        if name not in self.known:
            raise RequestError(
                400, f"direction {name[:60]!r}: unknown; this server has {self}", param=param, code="unknown_direction"
            )
        return name, self.known[name]

    def threshold(self, name: str, given: float | None = None) -> float:
        """The threshold of that direction's guard.

        Raises:
            RequestError: if it was not calibrated, or prompts do not end as they did where it was found.
        """
        try:
            check_prefix(self.model, self.known[name])
        except RhatError as error:
            raise RequestError(400, str(error), param="direction") from error
        if given is not None:
            return given
        if name not in self.calibrations:
            raise RequestError(
                400,
                f"direction {name}: not calibrated, so there is no threshold; run `rhat calibrate --direction FILE` "
                "and start the server again",
                code="not_calibrated",
                param="direction",
            )
        return self.calibrations[name].threshold

    def certified(self, name: str) -> Conditional:
        """The conditional intervention of that direction's certificate.

        Raises:
            RequestError: if none was asked for, or nothing could be certified.
        """
        self.threshold(name)
        certificate = self.calibrations[name].certificate
        if certificate is None:
            raise RequestError(
                400,
                f"direction {name}: no certificate; run `rhat calibrate --certify --direction FILE` and start the server again",
                code="not_certified",
                param="direction",
            )
        return certificate.conditional(self.known[name])

    def part(self, spec: InterventionSpec) -> Part:
        """What one intervention of a request means.

        Raises:
            RequestError: for an unknown direction, a layer out of range, or a scope that is none.
        """
        name, direction = self.named(spec.direction)
        value = spec.value
        if isinstance(value, str):
            value = direction.mean_harmful if value == "harmful_mean" else direction.mean_harmless
        try:
            where = tuple(spec.where) if isinstance(spec.where, list) else spec.where
            made = intervene(spec.op, direction, value=value, layer=spec.layer, where=where, scope=spec.scope)
            made.sites(self.model.layout)
            gate = None
            if spec.when == "certified":
                gate = self.certified(name)
                made = cast(Intervention, gate.intervention)
            elif spec.when is not None:
                gate = Conditional(made, direction, self.threshold(name, spec.threshold), spec.when)
        except RhatError as error:
            raise RequestError(400, str(error), param="rhat") from error
        if made.layer >= self.model.n_layers:
            raise RequestError(
                400, f"layer {made.layer}: this model has layers 0 to {self.model.n_layers - 1}", param="rhat"
            )
        return Part(
            (name, made.op, made.layer, made.value, made.where, str(made.scope)), name, made, gate, self.model.layout
        )

    def resolve(self, options: RhatOptions | None, default: Sequence[Part]) -> ResolvedOptions:
        """What a request asks for; the server's default where it names no interventions.

        Raises:
            RequestError: see `part` and `named`.
        """
        if options is None:
            return ResolvedOptions(tuple(default))
        parts = tuple(default) if options.interventions is None else tuple(self.part(s) for s in options.interventions)
        projected = None
        if options.return_projections:
            first = parts[0].direction if parts else None
            projected = self.named(options.projection_direction or first, "projection_direction")[0]
        return ResolvedOptions(parts, projected)

    def defaults(self, specs: Sequence[Mapping[str, Any]]) -> tuple[Part, ...]:
        """The server's default interventions.

        Raises:
            ServerError: if they are not interventions, in one line.
        """
        try:
            parsed = TypeAdapter(list[InterventionSpec]).validate_python([dict(spec) for spec in specs])
            return tuple(self.part(spec) for spec in parsed)
        except ValidationError as error:
            raise ServerError(f"default intervention: {first_problem(error.errors())}") from error
        except RequestError as error:
            raise ServerError(f"default intervention: {error.detail}") from error


def first_problem(errors: Sequence[Mapping[str, Any]]) -> str:
    """The first of pydantic's errors, as "field.path: what is wrong"; deeper ones say more than those of other unions."""
    error = max(errors, key=lambda e: len(e["loc"]))
    where = ".".join(str(part) for part in error["loc"] if part != "body" and "[" not in str(part))
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
