"""A vector that is there already, made ready to be a direction: finite, of length 1, at the input of a block."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.errors import DirectionError
from rhat.sites import Site

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    Vector = Tensor | np.ndarray | Sequence[float]
else:
    Vector = Any

log = logging.getLogger(__name__)


def unit_at(vector: Vector, site: Site | str) -> tuple[Float[Tensor, " d_model"], Site, float]:
    """The vector divided by its length, in float32; the block input at which it acts; and the length that it had.

    The output of block k is the input of block k + 1, so resid_post.k becomes resid_pre.k+1. A length other than 1 is logged.

    Raises:
        DirectionError: if it is no finite vector other than zero, or the site is not of the residual stream.
        SiteError: if there is no such site.
    """
    raw = torch.as_tensor(vector).detach().cpu().double()
    if raw.ndim != 1 or not bool(torch.isfinite(raw).all()) or not bool(raw.any()):
        raise DirectionError(
            f"direction: got {'NaN, infinity or only zeros' if raw.ndim == 1 else f'shape {tuple(raw.shape)}'}, "
            "expected one finite vector that is not zero; of a matrix choose a row"
        )
    where = Site.parse(site) if isinstance(site, str) else site
    if where.kind not in ("resid_pre", "resid_post"):
        raise DirectionError(f"direction at {where}: expected a vector of the residual stream, resid_pre or resid_post")
    if where.kind == "resid_post":
        where = Site("resid_pre", where.layer + 1)
    length = float(raw.norm())
    if abs(length - 1) > 1e-3:
        log.warning("the vector at %s has length %.4g: divided by it, and the length kept as norm", where, length)
    return (raw / length).float(), where, length
