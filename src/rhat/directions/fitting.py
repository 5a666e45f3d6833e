"""Whether what was found on one model belongs to another: by what pins the weights, or by the weights themselves."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from rhat.errors import DirectionError
from rhat.sites import Site

log = logging.getLogger(__name__)

UNPINNED = "in memory"  # the identity of models that were handed over loaded


def key_of(model: Any) -> str:
    """What tells one model from another."""
    return str(getattr(model, "weights", None) or model.identity)


def belongs(found_on: Mapping[str, Any], used_on: str | None, model: Any) -> bool:
    """Whether a direction was found on these weights (`found_on` is what `describe` said of its model), or its user said that
    it may be used on this model (`used_on` is that one's key).

    A direction that does not say where it was found belongs to any model of its width.
    """
    known = found_on.get("revision_or_sha256")
    if not known or (used_on and used_on == key_of(model)):
        return True
    if known == model.identity != UNPINNED:
        return True
    weights = found_on.get("weights")
    mine = getattr(model, "weights", None) if weights else None
    return bool(weights == mine if weights and mine else known == model.identity)


def check_fits(
    width: int,
    site: Site,
    found_on: Mapping[str, Any],
    used_on: str | None,
    model: Any,
    allow_other_model: bool,
) -> bool:
    """Whether a direction belongs to a model that has its width and layer; False only where another model's is allowed.

    Raises:
        DirectionError: saying what differs.
        SiteError: if the model has no such layer.
    """
    name = found_on.get("name")
    if width != model.d_model:
        raise DirectionError(
            f"direction of {name or 'another model'}: got width {width}, {model.name} has "
            f"{model.d_model}; find r̂ on this model with `rhat find`"
        )
    site.within(model.n_layers)
    if belongs(found_on, used_on, model):
        return True
    if not allow_other_model:
        known = str(found_on.get("revision_or_sha256"))
        raise DirectionError(
            f"direction of another model: it was found on {name} ({known[:12]}), this is {model.name} "
            f"({model.identity[:12]}); find r̂ on this model with `rhat find`, or allow it with "
            "check_fits(model, allow_other_model=True)"
        )
    log.warning("direction at %s: used on %s, though it was found on %s", site, model.name, name)
    return False
