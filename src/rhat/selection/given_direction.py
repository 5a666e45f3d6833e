"""A finding around a direction that is already known, so that single experiments can be run with it."""

from __future__ import annotations

from dataclasses import replace

from rhat.directions import Direction
from rhat.errors import DirectionError
from rhat.model.chat import ChatModel
from rhat.prompts import ContrastSet
from rhat.scoring.pieces import Pieces
from rhat.selection.finding import Finding
from rhat.selection.settings import FindSettings, Progress, silent
from rhat.selection.survey import survey


def finding_for(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    settings: FindSettings | None = None,
    *,
    progress: Progress = silent,
    pieces: Pieces | None = None,
) -> Finding:
    """What `find` would have left beside this direction: refusal tokens, the behaviour filter and the means.

    Nothing is chosen: no candidate is scored, and `direction` is kept as it is. Training and validation prompts only, with
    the response prefix with which it was found, and (unless `settings` say otherwise) the refusal phrases and tokens.
    The outcome is "no_refusal", without a direction, where the model hardly refuses or the filter leaves too few prompts.
    `pieces` keep what is done, batch by batch.

    Raises:
        DirectionError: if the direction is of another model, was not found at resid_pre, or its position is not among the
            template tokens and the one before them.
        StudyError: if the contrast set has fewer than two prompts of a label in a split that is needed.
    """
    direction.check_fits(model)
    model = model.for_direction(direction)
    last_instruction_token = -model.template_length - 1
    if direction.site.kind != "resid_pre" or not last_instruction_token <= direction.position < 0:
        raise DirectionError(
            f"direction at {direction.site}, position {direction.position}: expected resid_pre and a position from "
            f"{last_instruction_token} to -1, the instruction's last token and the template's of {model.name}; find r̂ again with `rhat find`"
        )
    settings = settings or FindSettings.read_as(direction)
    settings = replace(settings, instruction_token=direction.position == last_instruction_token)
    known = survey(model, prompts, settings, progress=progress, pieces=pieces)
    if known.means is None:
        return Finding.unrefused(known)
    where = {"position": direction.position, "layer": direction.layer, "status": "selected"}
    sentence = f"r̂ of {model.name} was given: layer {direction.layer}, position {direction.position}"
    rule = str(direction.extra.get("rule", "published"))
    return Finding("found", sentence, direction, (where,), known, rule, timings=known.timings, work=known.work)
