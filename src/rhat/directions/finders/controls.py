"""Directions that are not found: controls, and the user's own vector."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions.finders.checks import finite_vector, gap, need_rows, towards
from rhat.errors import ContrastError


def random_direction(
    d_model: int, seed: int, orthogonal_to: Float[Tensor, " d_model"] | None = None
) -> Float[Tensor, " d_model"]:
    """A seeded random unit vector, float32, orthogonal to a given one: the control that every claim is compared with."""
    vector = torch.randn(d_model, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if orthogonal_to is not None:
        unit = orthogonal_to.double().cpu()
        vector = vector - (vector @ unit) / (unit @ unit) * unit
    return finite_vector("random_direction", vector / vector.norm(), torch.float32)


def random(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"], *, seed: int = 0
) -> Float[Tensor, " d_model"]:
    """A control: a random unit vector, turned so that positive rows project higher on average.

    It is `random_direction` of that seed, the same at every layer; only the sign comes from the rows.

    Raises:
        ContrastError: if either side has no rows, or a value is not finite.
    """
    need_rows("random", positive, negative)
    vector = random_direction(positive.shape[1], seed).double().to(positive.device)
    return finite_vector("random", towards(vector, positive, negative), positive.dtype)


def permuted(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"], *, seed: int = 0
) -> Float[Tensor, " d_model"]:
    """A control: the difference of means after the labels of all rows were permuted; not normalised.

    It has the activations' own scale and covariance, and no label. Turned so that positive rows project higher on average.

    Raises:
        ContrastError: if either side has no rows, or a value is not finite.
    """
    need_rows("permuted", positive, negative)
    both = torch.cat([positive, negative])
    order = torch.randperm(len(both), generator=torch.Generator().manual_seed(seed)).to(both.device)
    vector = gap(both[order[: len(positive)]], both[order[len(positive) :]])
    return finite_vector("permuted", towards(vector, positive, negative), positive.dtype)


def given(
    positive: Float[Tensor, "n d_model"],
    negative: Float[Tensor, "m d_model"],
    *,
    vector: Tensor,
) -> Float[Tensor, " d_model"]:
    """The user's own vector [d_model], whatever the rows are: turned so that positive rows project higher on average, not scaled.

    Raises:
        ContrastError: if it is not one finite vector other than zero as wide as the rows, or rows are missing or not finite.
    """
    need_rows("given", positive, negative)
    wide = torch.as_tensor(vector).detach().double().to(positive.device)
    if wide.shape != positive.shape[1:] or not bool(wide.isfinite().all()) or not bool(wide.any()):
        raise ContrastError(
            f"given: got a vector of shape {tuple(wide.shape)}, expected one finite vector of {positive.shape[1]} numbers that "
            "is not zero; of a matrix choose a row"
        )
    return finite_vector("given", towards(wide, positive, negative), positive.dtype)
