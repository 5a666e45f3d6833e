"""Finders: (positive[n, d], negative[m, d]) → vector[d], pointing from negative to positive."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.errors import ContrastError


@runtime_checkable
class Finder(Protocol):
    """Turns two groups of activations into one vector, not normalised; options are bound beforehand."""

    def __call__(
        self, positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
    ) -> Float[Tensor, " d_model"]:
        """The vector from `negative` to `positive`."""
        ...


def _need_rows(name: str, positive: Tensor, negative: Tensor, least: int = 1) -> None:
    if len(positive) < least or len(negative) < least:
        raise ContrastError(
            f"{name} needs at least {least} rows on both sides, got {len(positive)} positive and {len(negative)} negative; "
            "check the filter of the contrast set"
        )
    for side, rows in (("positive", positive), ("negative", negative)):
        bad = int((~rows.isfinite()).reshape(len(rows), -1).any(1).sum())
        if bad:
            raise ContrastError(
                f"{name}: got {bad} of {len(rows)} {side} rows with values that are not finite, expected numbers; "
                "load the model with a wider dtype, such as bfloat16 in place of float16"
            )


def _vector(name: str, vector: Tensor, dtype: torch.dtype) -> Tensor:
    """What was found, in the dtype of the rows, if it is finite there."""
    found = vector.to(dtype)
    if not bool(found.isfinite().all()):
        raise ContrastError(
            f"{name}: got a vector that is not finite in {str(dtype).removeprefix('torch.')}; "
            "give rows whose sides differ, in float32 or float64"
        )
    return found


def mean_difference(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
) -> Float[Tensor, " d_model"]:
    """Mean of `positive` minus mean of `negative`, not normalised.

    Its length is the gap between the means in residual-stream units. Sums run in float64 and come back in `positive`'s
    dtype. Arditi et al. 2024, section 2.3.

    Raises:
        ContrastError: if either side has no rows, or a value is not finite.
    """
    _need_rows("mean_difference", positive, negative)
    gap = positive.double().mean(0) - negative.double().mean(0)
    return _vector("mean_difference", gap, positive.dtype)


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
    _need_rows("lat", positive, negative, 2)
    generator = torch.Generator().manual_seed(seed)
    n = min(len(positive), len(negative))
    p = positive.double()[torch.randperm(len(positive), generator=generator)[:n]]
    q = negative.double()[torch.randperm(len(negative), generator=generator)[:n]]
    differences = p - q
    if shuffle:
        differences = differences * (torch.randint(0, 2, (n, 1), generator=generator).double() * 2 - 1).to(p.device)
    centred = differences - differences.mean(0)
    vector = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    sign = torch.sign((positive.double() @ vector).mean() - (negative.double() @ vector).mean())
    return _vector("lat", vector * (sign if sign != 0 else 1), positive.dtype)


def logistic(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"], *, penalty: float = 1.0
) -> Float[Tensor, " d_model"]:
    """Weights of a logistic probe with an L2 penalty, in the units of the activations; unit length.

    Features are standardised with training statistics and the scaling is undone. Fitted with L-BFGS in float64, sum of
    log-losses + penalty/2 · |w|².

    Raises:
        ContrastError: if either side has fewer than two rows, or a value is not finite.
    """
    _need_rows("logistic", positive, negative, 2)
    x = torch.cat([positive, negative]).double()
    y = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))]).to(x)
    mean, sd = x.mean(0), x.std(0).clamp_min(1e-8)
    z = (x - mean) / sd
    weights = torch.zeros(z.shape[1] + 1, dtype=torch.float64, device=z.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-8, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = z @ weights[:-1] + weights[-1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum")
        loss = loss + penalty / 2 * weights[:-1].square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    vector = weights.detach()[:-1] / sd
    return _vector("logistic", vector / vector.norm(), positive.dtype)


def random_direction(
    d_model: int, seed: int, orthogonal_to: Float[Tensor, " d_model"] | None = None
) -> Float[Tensor, " d_model"]:
    """A seeded random unit vector, float32, orthogonal to a given one: the control that every claim is compared with."""
    vector = torch.randn(d_model, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if orthogonal_to is not None:
        unit = orthogonal_to.double().cpu()
        vector = vector - (vector @ unit) / (unit @ unit) * unit
    return _vector("random_direction", vector / vector.norm(), torch.float32)


FINDERS: dict[str, Finder] = {"mean_difference": mean_difference, "lat": lat, "logistic": logistic}
"""The finders that `rhat.find` takes, by name."""


def finder_named(name: str) -> Finder:
    """The finder of that name.

    Raises:
        ContrastError: if there is none, with those there are.
    """
    if name not in FINDERS:
        raise ContrastError(f"finder {name!r}: expected one of {', '.join(FINDERS)}")
    return FINDERS[name]
