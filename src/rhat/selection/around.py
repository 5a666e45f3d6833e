"""A finding around a direction that is already known, so that single experiments can be run with it."""

from __future__ import annotations

from rhat.directions import Direction
from rhat.errors import DirectionError
from rhat.model.chat import ChatModel
from rhat.prompts import ContrastSet
from rhat.selection.finding import (
    Finding,
    FindSettings,
    Progress,
    _counts,
    _moments,
    _refusal_tokens,
    _silent,
)


def around(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    settings: FindSettings | None = None,
    *,
    progress: Progress = _silent,
) -> Finding:
    """What `find` would have left beside this direction: refusal tokens, the behaviour filter and the means.

    Nothing is chosen: no candidate is scored, and `direction` is kept as it is. Training and validation prompts only.
    The outcome is "no_refusal", without a direction, where the model refuses nothing or the filter leaves a side empty.

    Raises:
        DirectionError: if the direction is of another model, was not found at resid_pre, or its position is not among the
            template tokens.
    """
    settings = settings or FindSettings()
    direction.check_fits(model)
    if direction.site.kind != "resid_pre" or not -model.template_length <= direction.position < 0:
        raise DirectionError(
            f"direction at {direction.site}, position {direction.position}: expected resid_pre and a position from "
            f"{-model.template_length} to -1, the template tokens of {model.name}; find r̂ again with `rhat find`"
        )
    limits = {"train": settings.train, "validation": settings.validation}
    given = {
        split: {label: prompts.select(label, split, limit) for label in ("harmful", "harmless")}  # type: ignore[arg-type]
        for split, limit in limits.items()
    }
    tokens, said = _refusal_tokens(model, given["train"], settings.token_prompts, progress)
    if not tokens:
        sentence = f"{model.name} hardly refuses: {said['harmful']} of {said['n_harmful']} harmful training prompts were refused"
        return Finding("no_refusal", sentence, None, (), tokens, _counts(given, {}))
    means, kept = _moments(model, given, [token.id for token in tokens], progress)
    counts = _counts(given, kept)
    empty = [f"{split} {label}" for split, sides in kept.items() for label, some in sides.items() if not some]
    if empty:
        sentence = f"{model.name} behaves as labelled on none of the prompts of: {', '.join(empty)}"
        return Finding("no_refusal", sentence, None, (), tokens, counts, kept=kept)
    where = {"position": direction.position, "layer": direction.layer, "status": "selected"}
    sentence = f"r̂ of {model.name} was given: layer {direction.layer}, position {direction.position}"
    return Finding("found", sentence, direction, (where,), tokens, counts, means, kept=kept)
