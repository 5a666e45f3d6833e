"""Finders from principal components of differences."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions.finders.checks import finite_vector, need_rows, towards
from rhat.errors import ContrastError

SHOWN = 16  # singular values that are reported


def lat(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"], *, seed: int = 0, shuffle: bool = True
) -> Float[Tensor, " d_model"]:
    """LAT reading vector: first principal component of differences between randomly ordered pairs. Unit length.

    Pairs are drawn with a seed and each is turned round by a coin: with a fixed order, centring would remove the very
    difference of the means (`shuffle=False` shows it). Exact SVD in float64; the sign is fixed so that positive rows
    project higher on average. Zou et al. 2023, section 3.1.

    Raises:
        ContrastError: if either side has fewer than two rows, or a value is not finite.
    """
    need_rows("lat", positive, negative, 2)
    generator = torch.Generator().manual_seed(seed)
    n = min(len(positive), len(negative))
    p = positive.double()[torch.randperm(len(positive), generator=generator)[:n]]
    q = negative.double()[torch.randperm(len(negative), generator=generator)[:n]]
    differences = p - q
    if shuffle:
        differences = differences * (torch.randint(0, 2, (n, 1), generator=generator).double() * 2 - 1).to(p.device)
    centred = differences - differences.mean(0)
    vector = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    return finite_vector("lat", towards(vector, positive, negative), positive.dtype)


def paired_svd(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"], *, component: int = 0
) -> Float[Tensor, " d_model"]:
    """A right singular vector of the differences x⁺ᵢ − x⁻ᵢ of pairs in the order given, not centred. Unit length.

    Of the larger side the rows beyond the smaller one are left out. Component 0 has the largest singular value. Beside the
    difference of the means it holds what varies from pair to pair: where harmful prompts lie in several directions the next
    components span them, and `spectrum` says how many. Exact SVD in float64; turned so that positive rows project higher.

    Raises:
        ContrastError: if either side has fewer rows than components are needed, or a value is not finite.
    """
    if component < 0:
        raise ContrastError(f"paired_svd: got component {component}, expected 0 or more")
    need_rows("paired_svd", positive, negative, component + 1)
    if component >= positive.shape[1]:
        raise ContrastError(f"paired_svd: got component {component} of {positive.shape[1]} dimensions")
    vector = torch.linalg.svd(_differences(positive, negative), full_matrices=False).Vh[component]
    return finite_vector("paired_svd", towards(vector, positive, negative), positive.dtype)


def spectrum(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"], **_more: Any
) -> dict[str, Any]:
    """The spectrum of the paired differences: the first 16 `singular_values` (residual-stream units times √pairs) and their
    `shares` of the sum of squares of all.

    Raises:
        ContrastError: if either side has no rows, or a value is not finite.
    """
    need_rows("paired_svd", positive, negative)
    values = torch.linalg.svdvals(_differences(positive, negative))
    shares = values.square() / values.square().sum().clamp_min(1e-300)
    return {"singular_values": values[:SHOWN].tolist(), "shares": shares[:SHOWN].tolist()}


def _differences(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
) -> Float[Tensor, "pairs d_model"]:
    n = min(len(positive), len(negative))
    return positive[:n].double() - negative[:n].double()
