"""Subspaces: several directions ablated or set at once, and each layer's own direction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions.direction import Direction
from rhat.errors import InterventionError
from rhat.interventions.combined import Combined, combine
from rhat.interventions.intervention import Intervention, Where, intervene
from rhat.model.positions import Scope

DEPENDENT = 1e-3
"""The smallest singular value, of unit vectors, below which they are called dependent."""


def orthonormal(directions: Sequence[Direction]) -> Float[Tensor, "k d_model"]:
    """An orthonormal basis of the span of some directions, float64; the first row is the first direction.

    Gram–Schmidt by QR, signed so that row i has a positive cosine with direction i.

    Raises:
        InterventionError: if there are none, their widths differ, or they are linearly dependent.
    """
    widths = {len(direction.unit) for direction in directions}
    if len(widths) != 1:
        raise InterventionError(
            "subspace: got no directions, expected one or more"
            if not directions
            else f"subspace: got directions of widths {', '.join(map(str, sorted(widths)))}, expected one width"
        )
    units = torch.stack([direction.unit.double().cpu() for direction in directions])
    smallest = float(torch.linalg.svdvals(units)[-1]) if len(units) <= units.shape[1] else 0.0
    if smallest < DEPENDENT:
        raise InterventionError(
            f"subspace: the {len(units)} directions are linearly dependent (smallest singular value {smallest:.2g}); "
            "leave out those that the others make up"
        )
    basis, triangle = torch.linalg.qr(units.T)
    found: Tensor = (basis * triangle.diagonal().sign()).T.contiguous()
    return found


def ablate_subspace(
    directions: Sequence[Direction], *, scope: str | Scope = "all", where: Where = "all layers"
) -> Combined:
    """Remove the span of k directions: x − Σᵢ (q̂ᵢ·x) q̂ᵢ over an orthonormal basis q̂, at every layer and all that is written.

    Ablation of rank k, exact: q̂ are orthogonal, so ablating one after the other is ablating all. With one direction it is
    `ablate`. Where the directions are no orthogonal ones, `combine` of their ablations would leave a part of the first.
    Concept cones and subspaces of refusal: Wollschläger et al. 2025, arXiv 2502.17420. With where="own layer" it acts at the
    first direction's.

    Raises:
        InterventionError: see `orthonormal`.
    """
    layer = directions[0].layer if directions else 0
    parsed = Scope.parse(scope)
    return combine(
        [Intervention("ablate", unit, layer, 0.0, where, parsed) for unit in orthonormal(directions).float()]
    )


def set_subspace(
    directions: Sequence[Direction],
    targets: Sequence[float] | None = None,
    *,
    alpha: float | None = None,
    scope: str | Scope = "all",
    where: Where = "own layer",
) -> Combined:
    """Set the projections on k directions at once: afterwards r̂ᵢ·x = tᵢ for each i, and what is orthogonal to all stays.

    x − Q Qᵀ x + Q c, with Q an orthonormal basis of the span and c the solution of r̂ᵢ·(Q c) = tᵢ. Affine concept editing of a
    subspace; setting one direction after the other would move the first again, unless they are orthogonal. It acts at the
    first direction's layer.

    Args:
        directions: linearly independent, of one model.
        targets: tᵢ in residual-stream units; None: each direction's harmful mean, or its `alpha` (`Parameter.at`).
        alpha: in place of targets: 0 is each direction's harmless mean, 1 its harmful one.
        scope: the tokens to edit.
        where: the layers.

    Raises:
        InterventionError: if targets and alpha are given, the number of targets is another, or see `orthonormal`.
        DirectionError: if a mean is needed that nobody measured.
    """
    basis = orthonormal(directions)
    if targets is None:
        targets = [intervene("set_projection", direction, alpha=alpha).value for direction in directions]
    elif alpha is not None:
        raise InterventionError(f"subspace: got α {alpha} and targets, expected one of them")
    if len(targets) != len(directions):
        raise InterventionError(
            f"subspace: got {len(targets)} targets for {len(directions)} directions, expected one each"
        )
    units = torch.stack([direction.unit.double().cpu() for direction in directions])
    numbers = torch.linalg.solve(units @ basis.T, torch.tensor(targets, dtype=torch.float64)).tolist()
    layer, parsed = directions[0].layer, Scope.parse(scope)
    return combine(
        [
            Intervention("set_projection", unit, layer, number, where, parsed)
            for unit, number in zip(basis.float(), numbers, strict=True)
        ]
    )


def at_own_layers(
    op: str,
    directions: Sequence[Direction],
    *,
    value: float | None = None,
    alpha: float | None = None,
    scope: str | Scope = "all",
) -> Combined:
    """An operator at several layers, at each with that layer's own direction and means.

    Addition over a range of layers with each layer's own vector is that of Zou et al. 2023 (arXiv 2310.01405) and of control
    vectors; setting with `alpha` is affine concept editing at every layer with each layer's own r̂ and means (Marshall et al.
    2024, arXiv 2411.09003). Without a value each direction has its own default.

    Args:
        op: a name of OPERATORS.
        directions: one for each layer, such as `rhat.selection.direction_at` gives.
        value: the same number at every layer.
        alpha: by each layer's own means instead; for add, 1 is that layer's own gap between them.
        scope: the tokens to edit.

    Raises:
        InterventionError: if two directions are of one layer, there are none, or as `intervene`.
    """
    layers = [direction.layer for direction in directions]
    if not layers or len(set(layers)) < len(layers):
        raise InterventionError(
            f"{op}: got directions at layers {', '.join(map(str, layers)) or 'none'}, expected one direction for each layer"
        )
    return combine(
        [intervene(op, direction, value=value, alpha=alpha, where="own layer", scope=scope) for direction in directions]
    )
