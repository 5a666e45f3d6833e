"""Interventions that need a second vector beside r̂: an angle in a fixed plane, and steering in the null space of harmless prompts."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions.direction import Direction
from rhat.errors import InterventionError
from rhat.interventions.intervention import Applied
from rhat.interventions.subspace import orthonormal
from rhat.model.chat import ChatModel
from rhat.model.edits import Edit
from rhat.model.positions import Scope, TokenContext
from rhat.reprs import one_line
from rhat.sites import Site
from rhat.vocabulary.arithmetic import cos_sin


@dataclass(frozen=True, eq=False)
class PairEdit:
    """A function of an activation and of two vectors, within a scope: what `tap` calls. Each token is changed by itself."""

    function: Callable[[Tensor, Tensor], Tensor]  # (x[..., d], pair[2, d]) → x[..., d], both in float32 or wider
    pair: Float[Tensor, "2 d_model"]
    scope: Scope
    tokenwise: ClassVar[bool] = True

    def __call__(self, activation: Tensor, context: TokenContext) -> Tensor:
        """The edited activation in its own precision; tokens outside the scope stay as they are."""
        wide = activation.float() if activation.element_size() < 4 else activation
        edited = self.function(wide, self.pair.to(device=wide.device, dtype=wide.dtype)).to(activation.dtype)
        return torch.where(context.inside(self.scope)[..., None], edited, activation)

    def first_position(self, prompt_length: int, template_start: int) -> int:
        """The scope's first position."""
        return self.scope.first_position(prompt_length, template_start)


@dataclass(frozen=True, eq=False, repr=False)
class WithSecond(Applied):
    """What both have in common: where they act, and the check of the width."""

    pair: Float[Tensor, "2 d_model"]
    layers: tuple[int, ...]
    scope: Scope

    @abstractmethod
    def apply(
        self, x: Float[Tensor, "*batch d_model"], pair: Float[Tensor, "2 d_model"]
    ) -> Float[Tensor, "*batch d_model"]:
        """The arithmetic, on activations and the pair in one precision."""

    def edits(self, model: ChatModel) -> dict[Site, Edit]:
        """The edits that `tap` applies: on the block inputs of its layers.

        Raises:
            InterventionError: if the width is not the model's.
            SiteError: if a layer is out of range.
        """
        name, width = type(self).__name__, self.pair.shape[1]
        if width != model.d_model:
            raise InterventionError(f"{name}: got vectors of width {width}, {model.name} has {model.d_model}")
        edit = PairEdit(self.apply, self.pair.to(model.device), self.scope)
        return {Site("resid_pre", layer).within(model.n_layers): edit for layer in self.layers}

    def describe(self) -> dict[str, Any]:
        """What it is, as JSON may hold it."""
        return {
            "op": type(self).__name__,
            "sites": ", ".join(f"resid_pre.{layer}" for layer in self.layers),
            "scope": str(self.scope),
        }

    __repr__ = one_line


@dataclass(frozen=True, eq=False, repr=False)
class AngleInPlane(WithSecond):
    """Angular steering in a fixed plane: h − P h + ‖P h‖ (cos θ b₁ + sin θ b₂). Vu & Nguyen 2025, arXiv 2510.26243.

    P is the projection on the plane of the orthonormal b₁ and b₂, θ in degrees from b₁; θ = 0 points along r̂, 180 away from it.
    What is orthogonal to the plane stays, and so does every token's length. With `adaptive` only tokens with b₁·h > 0 are turned.
    The formula and the condition are those of the authors' code, where b₁ is the difference of means, b₂ the first principal
    component of all layers' differences, and it acts after norms of every block; which layers act here is the caller's choice.
    """

    angle: float = 90.0
    adaptive: bool = False

    def apply(
        self, x: Float[Tensor, "*batch d_model"], pair: Float[Tensor, "2 d_model"]
    ) -> Float[Tensor, "*batch d_model"]:
        """The arithmetic."""
        inside = x @ pair.T  # coordinates in the plane
        wanted = inside.norm(dim=-1, keepdim=True) * x.new_tensor(cos_sin(self.angle))
        turned: Tensor = x + (wanted - inside) @ pair
        return torch.where(inside[..., :1] > 0, turned, x) if self.adaptive else turned

    def describe(self) -> dict[str, Any]:
        """What it is, as JSON may hold it."""
        return {**super().describe(), "angle": self.angle, "adaptive": self.adaptive}


def angle_in_plane(
    first: Direction,
    second: Direction,
    angle: float = 90.0,
    *,
    adaptive: bool = False,
    layers: tuple[int, ...] | None = None,
    scope: str | Scope = "all",
) -> AngleInPlane:
    """Angular steering in the plane of two directions; see `AngleInPlane`. It acts at the first one's layer unless told otherwise.

    The second is made orthogonal to the first.

    Raises:
        InterventionError: if the angle is not finite, or the directions are linearly dependent.
    """
    if not math.isfinite(angle):
        raise InterventionError(f"angle: got {angle}, expected a finite number of degrees")
    pair = orthonormal([first, second]).float()
    return AngleInPlane(pair, layers or (first.layer,), Scope.parse(scope), float(angle), adaptive)


@dataclass(frozen=True, eq=False, repr=False)
class NullSpaceSteering(WithSecond):
    """x + λ (w·x) r̂, with w in the null space of harmless activations: AlphaSteer (Sheng et al. 2025, arXiv 2506.07022).

    There x + λ Δ x with Δ = Δ̃ P: P projects on the null space of harmless activations, and Δ̃ is the ridge solution of Δ̃ P h = r
    over harmful ones, so that Δ has rank one: r wᵀ. `null_space_steering` makes w. The pair is (r with its length, w).
    """

    strength: float = 1.0

    def apply(
        self, x: Float[Tensor, "*batch d_model"], pair: Float[Tensor, "2 d_model"]
    ) -> Float[Tensor, "*batch d_model"]:
        """The arithmetic."""
        moved: Tensor = x + self.strength * (x @ pair[1])[..., None] * pair[0]
        return moved

    def describe(self) -> dict[str, Any]:
        """What it is, as JSON may hold it."""
        return {**super().describe(), "strength": self.strength}


def null_space_steering(
    direction: Direction,
    harmful: Float[Tensor, "n d_model"],
    harmless: Float[Tensor, "m d_model"],
    *,
    strength: float = 1.0,
    null_share: float | None = None,
    ridge: float = 10.0,
    scope: str | Scope = "all",
) -> NullSpaceSteering:
    """Add about `strength` · r to harmful activations and nothing to harmless ones: AlphaSteer (Sheng et al. 2025, 2506.07022).

    r is the raw vector norm · r̂. With X = H P, H the harmful activations as rows, w = P (XᵀX + β P)⁺ Xᵀ 1; the solution is
    theirs, in the form for one refusal vector. It acts at the direction's own layer; theirs acts at several, each with its own.

    Args:
        direction: r̂, whose layer the activations are of.
        harmful: activations of harmful training prompts at the direction's site.
        harmless: the same of harmless ones.
        strength: λ; 0 changes nothing.
        null_share: the share of dimensions that counts as the null space, those in which harmless activations are smallest, as
            in the authors' code; None: the exact null space, which needs fewer harmless prompts than dimensions.
        ridge: β, the penalty; 10 in the authors' code.
        scope: the tokens to edit.

    Raises:
        InterventionError: if the null space is empty, or the widths differ.
    """
    width = len(direction.unit)
    if {harmful.shape[1], harmless.shape[1]} != {width} or not (len(harmful) and len(harmless)):
        raise InterventionError(
            f"null space: got activations of shapes {tuple(harmful.shape)} and {tuple(harmless.shape)}, expected rows of "
            f"width {width} on both sides"
        )
    basis = _null_space(harmless.double().cpu(), null_share)
    x = harmful.double().cpu() @ basis  # X in coordinates of the null space
    identity = torch.eye(basis.shape[1], dtype=torch.float64)
    w = basis @ torch.linalg.solve(x.T @ x + ridge * identity, x.sum(0))
    pair = torch.stack([direction.norm * direction.unit.double().cpu(), w]).float()
    return NullSpaceSteering(pair, (direction.layer,), Scope.parse(scope), float(strength))


def _null_space(rows: Float[Tensor, "m d_model"], share: float | None) -> Float[Tensor, "d_model k"]:
    """An orthonormal basis of the directions in which the rows have no length, or of the share with the least."""
    width = rows.shape[1]
    _, sizes, axes = torch.linalg.svd(rows, full_matrices=True)
    if share is None:
        rank = int((sizes > sizes[0] * max(rows.shape) * torch.finfo(torch.float32).eps).sum())
        kept = width - rank
    else:
        kept = int(width * share)
    if kept <= 0:
        raise InterventionError(
            f"null space: {len(rows)} harmless activations of width {width} leave none; give null_share, such as 0.4, or fewer"
        )
    basis: Tensor = axes[width - kept :].T.contiguous()
    return basis
