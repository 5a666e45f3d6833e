"""Whether a direction belongs to a model: by what pins the weights, or by the weights themselves."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from rhat.errors import DirectionError

if TYPE_CHECKING:
    from rhat.directions.direction import Direction

log = logging.getLogger(__name__)

UNPINNED = "in memory"  # the identity of models that were handed over loaded


def _key(model: Any) -> str:
    """What tells one model from another."""
    return str(getattr(model, "weights", None) or model.identity)


def belongs(direction: Direction, model: Any) -> bool:
    """Whether a direction was found on these weights, or its user said that it may be used on this model.

    A direction that does not say where it was found belongs to any model of its width.
    """
    known, used_on = direction.model.get("revision_or_sha256"), direction.extra.get("used_on")
    if not known or (used_on and used_on == _key(model)):
        return True
    if known == model.identity != UNPINNED:
        return True
    weights = direction.model.get("weights")
    mine = getattr(model, "weights", None) if weights else None
    return bool(weights == mine if weights and mine else known == model.identity)


def fitted(direction: Direction, model: Any, allow_other_model: bool) -> Direction:
    """The direction, if its width and layer are the model's, and it belongs to it or may be used on another.

    Raises:
        DirectionError: saying what differs.
        SiteError: if the model has no such layer.
    """
    found_on = direction.model.get("name")
    if len(direction.unit) != model.d_model:
        raise DirectionError(
            f"direction of {found_on or 'another model'}: got width {len(direction.unit)}, {model.name} has "
            f"{model.d_model}; find r̂ on this model with `rhat find`"
        )
    direction.site.within(model.n_layers)
    if belongs(direction, model):
        return direction
    if not allow_other_model:
        known = str(direction.model.get("revision_or_sha256"))
        raise DirectionError(
            f"direction of another model: it was found on {found_on} ({known[:12]}), this is {model.name} "
            f"({model.identity[:12]}); find r̂ on this model with `rhat find`, or allow it with "
            "check_fits(model, allow_other_model=True)"
        )
    log.warning("direction at %s: used on %s, though it was found on %s", direction.site, model.name, found_on)
    return direction._with(extra={**direction.extra, "used_on": _key(model)})
