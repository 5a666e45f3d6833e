"""The finder from a self-organising map: several directions, where harmful prompts lie in several places."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.directions.finders.checks import finite_vector, gap, need_rows
from rhat.errors import ContrastError

SIDE = 4  # neurons in a row of the map, and rows
STEPS = 100  # passes over all rows
WIDTHS = (2.0, 0.3)  # standard deviation of the neighbourhood in the first pass and in the last, in neurons


def som(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"], *, neuron: int = 0
) -> Float[Tensor, " d_model"]:
    """A neuron of a self-organising map of the positive rows, minus the mean of `negative`; not normalised.

    The map is 4 × 4, hexagonal, and learns in batches: it starts on the plane of the first two principal components, and in each of 100 passes
    every neuron moves to the mean of all rows, weighted by a Gaussian of its distance on the map to the neuron that is nearest to the
    row; its width falls from 2 to 0.3 neurons. No seed is needed. Neuron 0 has most rows, and so on; neurons that have none are left
    out. Where harmful prompts lie in several clouds these are directions to each, of which the difference of means is the
    average. Residual-stream units, float64. Piras et al. 2025, who train one row at a time.

    Raises:
        ContrastError: if either side has fewer than two rows, a value is not finite, or there is no such neuron.
    """
    need_rows("som", positive, negative, 2)
    neurons, counts = _map(positive)
    if not 0 <= neuron < len(counts):
        raise ContrastError(f"som: got neuron {neuron}, expected 0 to {len(counts) - 1}: so many have rows")
    return finite_vector("som", neurons[neuron] - negative.double().mean(0), positive.dtype)


def map_report(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"], **_more: Any
) -> dict[str, Any]:
    """Of the neurons that have rows, most first: how many `rows`, and the `cosines` of their directions with the difference of means.

    Raises:
        ContrastError: as `som`.
    """
    need_rows("som", positive, negative, 2)
    neurons, counts = _map(positive)
    directions = neurons - negative.double().mean(0)
    cosines = torch.nn.functional.cosine_similarity(directions, gap(positive, negative)[None], dim=1)
    return {"rows": counts.tolist(), "cosines": cosines.tolist()}


def _map(rows: Float[Tensor, "n d_model"]) -> tuple[Float[Tensor, "k d_model"], Int[Tensor, " k"]]:
    """The neurons that have rows, by falling number of them (of equals the first on the map), and these numbers."""
    x = rows.double()
    places = _places().to(x.device)
    apart = torch.cdist(places, places).square()
    neurons = _start(x, places)
    for step in range(STEPS):
        width = WIDTHS[0] * (WIDTHS[1] / WIDTHS[0]) ** (step / (STEPS - 1))
        pull = torch.exp(-apart / (2 * width**2))[_nearest(x, neurons)]  # [n, k]
        neurons = pull.T @ x / pull.sum(0)[:, None].clamp_min(1e-300)
    counts = torch.bincount(_nearest(x, neurons), minlength=len(neurons))
    order = counts.argsort(descending=True, stable=True)
    order = order[counts[order] > 0]
    return neurons[order], counts[order]


def _places() -> Float[Tensor, "k 2"]:
    """Where the neurons are on the map: rows of a hexagonal grid, neighbours at distance 1."""
    return torch.tensor(
        [(column + row % 2 / 2, row * 0.75**0.5) for row in range(SIDE) for column in range(SIDE)], dtype=torch.float64
    )


def _start(x: Float[Tensor, "n d_model"], places: Float[Tensor, "k 2"]) -> Float[Tensor, "k d_model"]:
    """Neurons on the plane of the first two principal components, one standard deviation to each side of the mean."""
    mean = x.mean(0)
    _, values, axes = torch.linalg.svd(x - mean, full_matrices=False)
    k = min(2, len(values))
    at = (places - places.mean(0)) / places.std(0)
    largest = axes[:k].gather(1, axes[:k].abs().argmax(1, keepdim=True))
    steps = axes[:k] * largest.sign() * values[:k, None] / len(x) ** 0.5  # the sign of a component is arbitrary
    start: Tensor = mean + at[:, :k] @ steps
    return start


def _nearest(x: Float[Tensor, "n d_model"], neurons: Float[Tensor, "k d_model"]) -> Int[Tensor, " n"]:
    return torch.cdist(x, neurons).argmin(1)
