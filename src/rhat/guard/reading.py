"""The prompt's projection: what a guard looks at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rhat.capture import captured
from rhat.directions import Direction
from rhat.errors import DirectionError
from rhat.model.chat import ChatModel
from rhat.model.plans import TokenIds
from rhat.model.template import ChatPrompt


def prompt_projections(
    model: ChatModel, direction: Direction, prompts: Sequence[ChatPrompt] | Sequence[TokenIds]
) -> NDArray[np.float64]:
    """r̂·x of each prompt (an instruction, a conversation, or token ids), in order: at the direction's site and position, by the unedited model.

    In residual-stream units; positive leans towards refusal. Call it with no intervention on.

    Raises:
        DirectionError: if the direction does not fit the model or its chat template.
    """
    check_prefix(model, direction)
    check_position(model, direction)
    found = np.empty(len(prompts))
    if not prompts:
        return found
    plan = model.lay_out(model.tokens_of(prompts))
    for rows, at in captured(model, plan, [direction.site], [direction.position]):
        found[rows.cpu().numpy()] = direction.project(at[direction.site][:, 0]).cpu().numpy()
    return found


def check_position(model: ChatModel, direction: Direction) -> Direction:
    """The direction, if it was found on this model and at one of its template tokens or the instruction's last.

    Raises:
        DirectionError: saying what does not fit.
    """
    direction.check_fits(model)
    if not -model.template_length - 1 <= direction.position < 0:
        raise DirectionError(
            f"direction at position {direction.position}: {model.name} has {model.template_length} template tokens "
            f"after the instruction, so expected {-model.template_length - 1} (the instruction's last token) to -1; use the "
            "chat template with which the direction was found"
        )
    return direction


def check_prefix(model: ChatModel, direction: Direction) -> Direction:
    """The direction, if prompts end with the response prefix with which it was found: positions count from its end.

    Raises:
        DirectionError: if they end with another, or none.
    """
    if direction.response_prefix != model.response_prefix:
        raise DirectionError(
            f"direction found with the response prefix {direction.response_prefix!r}: {model.name} has "
            f"{model.response_prefix!r}, so its position means another token; load the model with that --response-prefix "
            "(response_prefix= in Python)"
        )
    return direction


def fingerprint(direction: Direction) -> str:
    """First 16 hex digits of the sha256 over the unit vector's float32 bytes, its site and its position."""
    digest = hashlib.sha256(direction.unit.float().cpu().contiguous().numpy().tobytes())
    digest.update(f"{direction.site} {direction.position}".encode())
    return digest.hexdigest()[:16]
