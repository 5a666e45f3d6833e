"""What a request's `rhat` field means on this server: names become directions, numbers become interventions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from pydantic import TypeAdapter, ValidationError

from rhat.directions import Direction
from rhat.errors import DirectionError, RhatError
from rhat.guard import Alarm, Calibration, Conditional, check_position, check_prefix
from rhat.interventions import Intervention, intervene
from rhat.model import ChatModel, Layout
from rhat.server.errors import RequestError, ServerError
from rhat.server.specs import GivenDirection, InterventionSpec, RhatOptions

GIVEN = "given with the request"


@dataclass(frozen=True, eq=False)
class Part:
    """One intervention of a request, the gate it stands behind if any, and what identifies it."""

    key: tuple[Any, ...]
    direction: str
    given: Direction
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
    projected: tuple[str, Direction] | None = None

    @property
    def direction(self) -> Direction | None:
        """The direction on which its tokens are projected, if any."""
        return None if self.projected is None else self.projected[1]


class Directions:
    """The directions that a server knows by name, and their calibrations."""

    def __init__(
        self,
        model: ChatModel,
        directions: Mapping[str, Direction],
        calibrations: Mapping[str, Calibration] | None = None,
    ) -> None:
        self.model = model
        self.started = dict(directions)
        self.known = dict(directions)
        self.calibrations = dict(calibrations or {})
        self.alarms = {name: Alarm(calibration) for name, calibration in self.calibrations.items()}
        for name, direction in self.known.items():
            self.check(direction)
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

    def check(self, direction: Direction) -> Direction:
        """The direction, if it fits the model, and its position is one that prompts here have.

        Raises:
            DirectionError: saying what does not fit.
        """
        direction.check_fits(self.model)
        self.model.tell_thinking(direction)
        if direction.response_prefix == self.model.response_prefix:
            check_position(self.model, direction)
        return direction

    def given(self, spec: GivenDirection) -> Direction:
        """A direction that comes with a request: of any length, which is kept as its norm.

        Raises:
            DirectionError: if it is zero or overflows, is not of the residual stream, or does not fit the model.
            SiteError: if there is no such site.
        """
        raw = torch.tensor(spec.vector, dtype=torch.float64)
        length = float(raw.norm())
        if not 0 < length < math.inf:
            raise DirectionError(
                f"direction: got a vector of length {length:g}, expected one finite vector that is not zero"
            )
        described = spec.model_dump(exclude={"vector"})
        # its position counts in the prompts of this server
        said = {"response_prefix": self.model.response_prefix, "thinking": self.model.thinking.mode}
        return self.check(length * Direction.of(raw / length, **described, model=said, method="given with a request"))

    def found(self, asked: str | GivenDirection | None, param: str = "direction") -> tuple[str, Direction]:
        """The direction that a request names or brings, with its name; without either the first.

        Raises:
            RequestError: if there is none of that name, or what it brings is none for this model.
        """
        if not isinstance(asked, GivenDirection):
            return self.named(asked, param)
        try:
            return GIVEN, self.given(asked)
        except RhatError as error:
            raise RequestError(400, str(error), param=param) from error

    def threshold(self, name: str, given: float | None = None, direction: Direction | None = None) -> float:
        """The threshold of that direction's guard, of the server's direction of that name unless it comes with the request.

        Raises:
            RequestError: if it was not calibrated, or prompts do not end as they did where it was found.
        """
        try:
            check_prefix(self.model, direction or self.known[name])
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
        if name not in self.known:
            raise RequestError(
                400,
                "a direction given with the request has no certificate; name one of the server's",
                code="not_certified",
                param="direction",
            )
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
        name, direction = self.found(spec.direction)
        value = spec.value
        try:
            if isinstance(value, str):
                value = direction.mean_harmful if value == "harmful_mean" else direction.mean_harmless
            where = tuple(spec.where) if isinstance(spec.where, list) else spec.where
            made = intervene(
                spec.op, direction, value=value, alpha=spec.alpha, layer=spec.layer, where=where, scope=spec.scope
            )
            made.sites(self.model.layout)
            gate = None
            if spec.when == "certified":
                gate = self.certified(name)
                made = cast(Intervention, gate.intervention)
            elif spec.when is not None:
                gate = Conditional(made, direction, self.threshold(name, spec.threshold, direction), spec.when)
        except RhatError as error:
            raise RequestError(400, str(error), param="rhat") from error
        if made.layer >= self.model.n_layers:
            raise RequestError(
                400, f"layer {made.layer}: this model has layers 0 to {self.model.n_layers - 1}", param="rhat"
            )
        vector = hashlib.sha256(direction.unit.numpy().tobytes()).digest()  # one name may come to mean another vector
        key = (vector, made.op, made.layer, made.value, made.where, str(made.scope))
        return Part(key, name, direction, made, gate, self.model.layout)

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
            if options.projection_direction is None and parts:
                projected = parts[0].direction, parts[0].given
            else:
                projected = self.found(options.projection_direction, "projection_direction")
            try:
                check_position(self.model, projected[1])
            except RhatError as error:
                raise RequestError(400, str(error), param="return_projections") from error
            first = -self.model.template_length
            if projected[1].position < first:
                raise RequestError(
                    400,
                    f"direction {projected[0]}: read at position {projected[1].position}, the instruction's last token, and "
                    f"projections of a request's tokens begin at the first after it, at {first}; leave return_projections out, "
                    "or name another projection_direction (moderations and gates read there)",
                    param="return_projections",
                )
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
    error = max(errors, key=lambda e: (e["type"] == "unaccepted_field", len(e["loc"])))
    hidden = ("body", "constrained-str", GivenDirection.__name__)
    where = ".".join(str(part) for part in error["loc"] if part not in hidden and "[" not in str(part))
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "unaccepted_field":  # which begins with the field's own name
        return f"{where}.{message}" if where else message
    return f"{where}: {message}" if where else message
