"""Intervention: an operator bound to a direction, sites and a token scope."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions.direction import Direction
from rhat.errors import InterventionError
from rhat.model.chat import ChatModel
from rhat.model.edits import Edit, Edits
from rhat.model.layout import Layout, span
from rhat.model.positions import Scope, TokenContext
from rhat.model.tap import tap
from rhat.sites import Site
from rhat.vocabulary import OPERATORS, Operator

Where = Literal["own layer", "all layers"] | tuple[int, ...]


@dataclass(frozen=True, eq=False)
class DirectionEdit:
    """An operator on one unit vector, within a scope: what `tap` calls."""

    operator: Operator
    unit: Float[Tensor, " d_model"]
    value: float
    scope: Scope
    tokenwise: ClassVar[bool] = True  # each token is changed by itself, and nothing is read

    def __call__(self, activation: Tensor, context: TokenContext) -> Tensor | None:
        """The edited activation; tokens outside the scope stay as they are."""
        if self.scope.name == "all" and not context.padded:
            whole: Tensor = self.operator(activation, self.unit, self.value)
            return whole
        # Whether the scope holds any token is not asked: on a GPU the answer must be waited for, at every site.
        edited: Tensor = self.operator(activation, self.unit, self.value)
        return torch.where(context.inside(self.scope)[..., None], edited, activation)

    def first_position(self, prompt_length: int, template_start: int) -> int:
        """The scope's first position."""
        return self.scope.first_position(prompt_length, template_start)


class Applied(ABC):
    """What every intervention has beside its edits: it can be put on a model."""

    @abstractmethod
    def edits(self, model: ChatModel) -> Edits:
        """The edits that `tap` applies."""

    @contextmanager
    def on(self, model: ChatModel) -> Iterator[ChatModel]:
        """Apply it to every forward pass of `model` (and of `model.hf`) inside the `with`; leaving restores the model."""
        with tap(model, self.edits(model)):
            yield model


@dataclass(frozen=True, eq=False, repr=False)
class Intervention(Applied):
    """What is done to the residual stream, where, and to which tokens.

    op     a name of OPERATORS
    unit   the direction, float32, length 1
    layer  the layer of "own layer"; the edit is at resid_pre there
    value  the operator's parameter, in its unit: target t of set_projection, coefficient c of add and subtract; 0 where the
           operator takes none
    where  "own layer", "all layers", or the layers themselves, such as (5, 6, 7). At several layers ablation acts on block
           inputs and on all that blocks add, so that nothing writes r̂ again (on input and output of blocks whose parts cannot
           be told apart), and the other operators on block inputs only
    """

    op: str
    unit: Float[Tensor, " d_model"]
    layer: int
    value: float = 0.0
    where: Where = "own layer"
    scope: Scope = Scope("all")  # noqa: RUF009

    def __post_init__(self) -> None:
        if self.op not in OPERATORS:
            raise InterventionError(f"operator {self.op!r}: expected one of {', '.join(OPERATORS)}")
        if isinstance(self.where, tuple):
            if not self.where or any(not isinstance(layer, int) or layer < 0 for layer in self.where):
                raise InterventionError(f"{self.op}: got layers {self.where}, expected one or more that count from 0")
        elif self.where not in ("own layer", "all layers"):
            raise InterventionError(f"where {self.where!r}: expected 'own layer', 'all layers' or a tuple of layers")
        length = float(self.unit.double().norm())  # another one would scale whatever an operator does
        if not abs(length - 1) <= 1e-3:
            raise InterventionError(
                f"{self.op}: got a vector of length {length:.4g}, expected a unit vector; divide by its length, or make a "
                "direction of it with rhat.Direction.of"
            )
        if not math.isfinite(self.value):
            parameter = OPERATORS[self.op].parameter
            raise InterventionError(
                f"{self.op}: got {self.value}, expected a finite number"
                + (f" of {parameter.unit}" if parameter is not None and parameter.unit else "")
            )
        if self.layer < 0:
            raise InterventionError(f"{self.op}: got layer {self.layer}; layers count from 0")

    def sites(self, layout: Layout) -> list[Site]:
        """Where it acts in a model of that layout.

        Raises:
            SiteError: if its layer is out of range.
        """
        if self.where == "own layer":
            return [Site("resid_pre", self.layer).within(layout.n_layers)]
        layers = range(layout.n_layers) if self.where == "all layers" else sorted(set(self.where))
        inputs = [Site("resid_pre", layer).within(layout.n_layers) for layer in layers]
        operator = OPERATORS[self.op]
        if not operator.writers:
            return inputs
        if operator.once:
            return [inputs[0], *self._added(layout, layers)]
        return [Site(kind, layer) for layer in layers for kind in layout.parts[layer].writes]

    def _added(self, layout: Layout, layers: Sequence[int]) -> list[Site]:
        """What the blocks add to the stream there."""
        blind = [layer for layer in layers if layout.parts[layer].sum == "unaccounted"]
        if blind:
            raise InterventionError(
                f"{self.op}: acts on what blocks add, and what the parts of {span(blind)} add cannot be told apart; use "
                "where='own layer' (--layers own)"
            )
        kinds = {layer: layout.parts[layer].writes for layer in layers}
        return [Site(kind, layer) for layer in layers for kind in kinds[layer] if not kind.startswith("resid")]

    def edits(self, model: ChatModel) -> dict[Site, Edit]:
        """The edits that `tap` applies.

        Raises:
            InterventionError: if the direction's width is not the model's.
        """
        if len(self.unit) != model.d_model:
            raise InterventionError(
                f"{self.op}: got a direction of width {len(self.unit)}, {model.name} has {model.d_model}; "
                "find r̂ on this model with `rhat find`"
            )
        edit = DirectionEdit(OPERATORS[self.op], self.unit.to(model.device), self.value, self.scope)
        return dict.fromkeys(self.sites(model.layout), edit)

    def __repr__(self) -> str:
        return "Intervention(" + ", ".join(f"{key} {value}" for key, value in self.describe().items()) + ")"

    def _where(self, layout: Layout | None) -> str:
        if self.where == "own layer":
            return f"resid_pre.{self.layer}"
        everywhere = layout.ablation if layout is not None and OPERATORS[self.op].writers else "all layers"
        return everywhere if self.where == "all layers" else span(sorted(set(self.where)))

    def describe(self, layout: Layout | None = None) -> dict[str, Any]:
        """What results.json says of a condition; given a model's layout, also where ablation does not reach in it."""
        said: dict[str, Any] = {
            "op": self.op,
            "sites": self._where(layout),
            "scope": str(self.scope),
        }
        parameter = OPERATORS[self.op].parameter
        return said if parameter is None else {**said, parameter.name: self.value}


def intervene(
    op: str,
    direction: Direction,
    *,
    value: float | None = None,
    alpha: float | None = None,
    layer: int | None = None,
    where: Where | None = None,
    scope: str | Scope = "all",
) -> Intervention:
    """An intervention by operator name, with the paper's defaults.

    value defaults as the operator's record says, for most to the direction's mean harmful projection; where to the own layer,
    and to all layers for operators that act everywhere. `alpha` gives the value by the direction's means instead: of a
    projection 0 is the harmless mean and 1 the harmful one, of a length 1 is the gap between them (`Parameter.at`).

    Raises:
        InterventionError: if there is no such operator, it takes no value or no α and one is given, or both are, or a layer is
            given to an intervention that acts at several.
        DirectionError: if a mean is needed that nobody measured.
    """
    if op not in OPERATORS:
        raise InterventionError(f"operator {op!r}: expected one of {', '.join(OPERATORS)}")
    operator = OPERATORS[op]
    parameter = operator.parameter
    if parameter is None and value is not None:
        raise InterventionError(
            f"{op}: got the value {value}, expected none: this operator takes no number; leave it out"
        )
    if alpha is not None:
        value = _at(operator, direction, alpha, value)
    if where is None:
        where = "all layers" if operator.everywhere else "own layer"
    if layer is not None and where != "own layer":
        raise InterventionError(
            f"{op}: got layer {layer}, but it acts at {where if isinstance(where, str) else f'layers {where}'}; "
            "leave the layer out, or choose the own layer (where='own layer', --layers own)"
        )
    if value is None and parameter is not None:
        value = parameter.default
        if value is None:
            value = direction.mean_harmful if parameter.mean == "harmful" else direction.mean_harmless
    return Intervention(
        op,
        direction.unit,
        direction.layer if layer is None else layer,
        0.0 if value is None else value,
        where,
        Scope.parse(scope),
    )


def _at(operator: Operator, direction: Direction, alpha: float, value: float | None) -> float:
    """The number that α stands for on a direction."""
    parameter = operator.parameter
    if parameter is None or not parameter.by_means:
        takes = (
            "takes no number" if parameter is None else f"takes its {parameter.name}, which is not read by the means"
        )
        raise InterventionError(
            f"{operator.name}: got α {alpha}, but it {takes}; leave α out"
            + ("" if parameter is None else " and give the value")
        )
    if value is not None:
        raise InterventionError(f"{operator.name}: got α {alpha} and the value {value}, expected one of them")
    return parameter.at(alpha, direction.mean_harmful, direction.mean_harmless)


def set_projection(
    direction: Direction,
    target: float | None = None,
    *,
    alpha: float | None = None,
    scope: str | Scope = "all",
    layer: int | None = None,
    where: Where = "own layer",
) -> Intervention:
    """Set the projection on r̂ to `target` (default: its mean over harmful training prompts) at r̂'s own layer.

    x − (r̂·x) r̂ + t r̂. With `alpha` in place of the target it is affine concept editing (Marshall et al. 2024, arXiv
    2411.09003): t = (1 − α) · harmless mean + α · harmful mean.
    """
    return intervene("set_projection", direction, value=target, alpha=alpha, layer=layer, where=where, scope=scope)


def add(
    direction: Direction,
    coefficient: float | None = None,
    *,
    alpha: float | None = None,
    scope: str | Scope = "all",
    layer: int | None = None,
    where: Where = "own layer",
) -> Intervention:
    """Add `coefficient` · r̂ (default: the mean harmful projection; `direction.norm` is the raw difference) at its layer."""
    return intervene("add", direction, value=coefficient, alpha=alpha, layer=layer, where=where, scope=scope)


def subtract(
    direction: Direction,
    coefficient: float | None = None,
    *,
    alpha: float | None = None,
    scope: str | Scope = "all",
    layer: int | None = None,
    where: Where = "own layer",
) -> Intervention:
    """Subtract `coefficient` · r̂ (default: the mean harmful projection) at its layer."""
    return intervene("subtract", direction, value=coefficient, alpha=alpha, layer=layer, where=where, scope=scope)


def ablate(
    direction: Direction, *, scope: str | Scope = "all", layer: int | None = None, where: Where = "all layers"
) -> Intervention:
    """Remove r̂ from everything written to the residual stream, at every layer (or at one with where="own layer")."""
    return intervene("ablate", direction, layer=layer, where=where, scope=scope)
