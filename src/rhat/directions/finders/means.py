"""Finders from means: of the groups, of one category, and of what is refused by mistake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions.finders.checks import finite_vector, gap, need_finite, need_rows
from rhat.errors import ContrastError


def mean_difference(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
) -> Float[Tensor, " d_model"]:
    """Mean of `positive` minus mean of `negative`, not normalised.

    Its length is the gap between the means in residual-stream units. Sums run in float64 and come back in `positive`'s
    dtype. Arditi et al. 2024, section 2.3.

    Raises:
        ContrastError: if either side has no rows, or a value is not finite.
    """
    need_rows("mean_difference", positive, negative)
    return finite_vector("mean_difference", gap(positive, negative), positive.dtype)


def projected_difference(
    positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]
) -> Float[Tensor, " d_model"]:
    """The difference of means without its part along the mean of `negative`: d − (d·μ⁻) μ⁻ / |μ⁻|², not normalised.

    Ablating it leaves the mean of harmless activations where it is. Residual-stream units, in `positive`'s dtype; sums run in
    float64. Where μ⁻ is zero it is the difference of means.

    Raises:
        ContrastError: if either side has no rows, or a value is not finite.
    """
    need_rows("projected_difference", positive, negative)
    found = _without(gap(positive, negative), negative.double().mean(0))
    return finite_vector("projected_difference", found, positive.dtype)


def category(
    positive: Float[Tensor, "n d_model"],
    negative: Float[Tensor, "m d_model"],
    *,
    categories: Sequence[str],
    category: str,
) -> Float[Tensor, " d_model"]:
    """Mean of the positive rows of one category minus mean of `negative`, not normalised. Residual-stream units.

    `categories` names that of each positive row.

    Raises:
        ContrastError: if there is not one category for each row, no row of this one, or a value is not finite.
    """
    need_rows("category", positive, negative)
    chosen = _rows_of(positive, categories, category)
    return finite_vector("category", gap(chosen, negative), positive.dtype)


def category_cosines(
    positive: Float[Tensor, "n d_model"],
    negative: Float[Tensor, "m d_model"],
    *,
    categories: Sequence[str],
    **_more: Any,
) -> dict[str, Any]:
    """Cosines between the differences of all categories: `names`, `rows` of each, and the matrix `cosines`.

    Raises:
        ContrastError: as `category`.
    """
    names = sorted(set(categories))
    units = torch.stack([gap(_rows_of(positive, categories, name), negative) for name in names])
    units = units / units.norm(dim=1, keepdim=True).clamp_min(1e-300)
    counts = [sum(own == name for own in categories) for name in names]
    return {"names": names, "rows": counts, "cosines": (units @ units.T).tolist()}


def false_refusal(
    positive: Float[Tensor, "n d_model"],
    negative: Float[Tensor, "m d_model"],
    *,
    harmful: Float[Tensor, "k d_model"],
) -> Float[Tensor, " d_model"]:
    """The difference of means of refused borderline prompts (`positive`) and harmless ones, without its part along r̂.

    v − (v·r̂) r̂ with v = μ⁺ − μ⁻ and r̂ the unit difference of the means of `harmful` and `negative`: what refusals of borderline
    prompts have that refusals of harmful ones lack. Not normalised, residual-stream units. Ablating it is meant to lower
    over-refusal and leave refusal. Wang et al. 2024 (arXiv 2410.03415).

    Raises:
        ContrastError: if a side has no rows, or a value is not finite.
    """
    need_rows("false_refusal", positive, negative)
    need_rows("false_refusal, harmful", harmful, negative)
    need_finite("false_refusal", harmful=harmful)
    return finite_vector("false_refusal", _without(gap(positive, negative), gap(harmful, negative)), positive.dtype)


def _without(vector: Float[Tensor, " d_model"], other: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
    """The vector without its part along another one, which may be zero."""
    square = float(other @ other)
    if square <= 1e-24 * float(vector @ vector):  # nothing but rounding
        return vector
    return vector - (vector @ other) / square * other


def _rows_of(positive: Tensor, categories: Sequence[str], name: str) -> Tensor:
    if len(categories) != len(positive):
        raise ContrastError(
            f"category: got {len(categories)} categories of {len(positive)} positive rows, expected one for each"
        )
    at = [i for i, own in enumerate(categories) if own == name]
    if not at:
        raise ContrastError(f"category {name!r}: expected one of {', '.join(sorted(set(categories)))}")
    return positive[at]
