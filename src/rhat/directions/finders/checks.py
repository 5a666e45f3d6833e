"""What every finder checks of the rows that it is given, and of the vector that it gives."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.errors import ContrastError


def need_rows(name: str, positive: Tensor, negative: Tensor, least: int = 1) -> None:
    """Check that both sides have rows enough, of finite numbers.

    Raises:
        ContrastError: naming the finder and the side.
    """
    if len(positive) < least or len(negative) < least:
        raise ContrastError(
            f"{name} needs at least {least} rows on both sides, got {len(positive)} positive and {len(negative)} negative; "
            "check the filter of the contrast set"
        )
    need_finite(name, positive=positive, negative=negative)


def need_finite(name: str, **sides: Tensor) -> None:
    """Check that all rows are finite.

    Raises:
        ContrastError: naming the finder and the side.
    """
    for side, rows in sides.items():
        bad = int((~rows.isfinite()).reshape(len(rows), -1).any(1).sum())
        if bad:
            raise ContrastError(
                f"{name}: got {bad} of {len(rows)} {side} rows with values that are not finite, expected numbers; "
                "load the model with a wider dtype, such as bfloat16 in place of float16"
            )


def finite_vector(name: str, vector: Tensor, dtype: torch.dtype) -> Tensor:
    """What was found, in the dtype of the rows, if it is finite there.

    Raises:
        ContrastError: naming the finder.
    """
    found = vector.to(dtype)
    if not bool(found.isfinite().all()):
        raise ContrastError(
            f"{name}: got a vector that is not finite in {str(dtype).removeprefix('torch.')}; "
            "give rows whose sides differ, in float32 or float64"
        )
    return found


def gap(positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "m d_model"]) -> Float[Tensor, " d_model"]:
    """Mean of `positive` minus mean of `negative`, float64."""
    return positive.double().mean(0) - negative.double().mean(0)


def towards(
    vector: Float[Tensor, " d_model"],
    positive: Float[Tensor, "n d_model"],
    negative: Float[Tensor, "m d_model"],
) -> Float[Tensor, " d_model"]:
    """The vector, turned round where negative rows project higher on average."""
    turned: Tensor = vector * (-1.0 if float(gap(positive, negative) @ vector) < 0 else 1.0)
    return turned
