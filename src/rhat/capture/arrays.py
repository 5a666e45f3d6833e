"""Activations and logits of prompts as one tensor each, in the order of the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.capture.reading import captured, captured_all_tokens
from rhat.directions import Direction
from rhat.errors import PromptError
from rhat.model.chat import ChatModel
from rhat.model.logits import last_logits
from rhat.model.plans import TokenIds
from rhat.model.protocol import AnyIntervention, edited_alike
from rhat.model.template import ChatPrompt
from rhat.sites import Site


def activations(
    model: ChatModel,
    prompts: Sequence[ChatPrompt],
    sites: Sequence[Site | str] | Site | str,
    position: int | Sequence[int] | Literal["all"] = -1,
    *,
    intervention: AnyIntervention | None = None,
) -> Float[Tensor, "n site *position d"]:
    """Activations at sites and positions, one row a prompt in the order given, float32 on the CPU.

    `position` counts from the end of the prompt, −1 its last token. One position gives [n, site, d_model], several give
    [n, site, position, d_model]. "all" gives every token of the prompts, [n, site, longest, d_model], where −1 is still the last
    one and shorter prompts begin with NaN. With an intervention they are what the edited model goes on with.

    Raises:
        PromptError: if there are no prompts or no sites.
        SiteError: if a site is not in this model, or a prompt is shorter than a position.
    """
    listed = [sites] if isinstance(sites, (Site, str)) else list(sites)
    wanted = [(Site.parse(site) if isinstance(site, str) else site).within(model.n_layers) for site in listed]
    if not wanted:
        raise PromptError('activations: got no sites, expected at least one, such as "resid_pre.12"')
    tokens = model.tokenize(prompts)
    if position == "all":
        return _of_all_tokens(model, tokens, wanted, intervention)
    positions = [position] if isinstance(position, int) else [int(at) for at in position]
    out: Tensor | None = None
    for members, edits in edited_alike(intervention, model, tokens):
        for rows, found in captured(model, model.lay_out([tokens[i] for i in members]), wanted, positions, edits):
            stacked = torch.stack([found[site].float().cpu() for site in wanted], 1)  # [rows, site, position, d]
            if out is None:
                out = torch.empty(len(tokens), *stacked.shape[1:])
            out[torch.tensor(members)[rows.cpu()]] = stacked
    assert out is not None
    return out[:, :, 0] if isinstance(position, int) else out


def _of_all_tokens(
    model: ChatModel, tokens: Sequence[TokenIds], sites: Sequence[Site], intervention: AnyIntervention | None
) -> Float[Tensor, "n site longest d"]:
    """Activations of every token, aligned at the last one; NaN before a prompt's first."""
    longest = max(map(len, tokens))
    out: Tensor | None = None
    for members, edits in edited_alike(intervention, model, tokens):
        plan = model.lay_out([tokens[i] for i in members])
        for _, found in captured_all_tokens(model, plan, sites, edits):
            for row, at in found.items():
                stacked = torch.stack([at[site].float().cpu() for site in sites])
                if out is None:
                    out = torch.full((len(tokens), len(sites), longest, stacked.shape[-1]), torch.nan)
                out[members[row], :, longest - stacked.shape[1] :] = stacked
    assert out is not None
    return out


def projections(
    model: ChatModel,
    prompts: Sequence[ChatPrompt],
    direction: Direction,
    position: int | Literal["all"] | None = None,
    *,
    intervention: AnyIntervention | None = None,
) -> Float[Tensor, " n *longest"]:
    """Projections r̂·x of prompts at the direction's site, in the order given: float64 on the CPU, residual-stream units.

    Positive leans towards refusal. `position` counts from the end of the prompt and defaults to the direction's own: [n].
    "all" gives every token of the prompts, [n, longest], where −1 is the last one and shorter prompts begin with NaN.

    Raises:
        PromptError: if there are no prompts.
        DirectionError: if the direction does not fit the model.
        SiteError: if a prompt is shorter than the position.
    """
    direction.check_fits(model)
    model = model.for_direction(direction)
    at = direction.position if position is None else position
    found = activations(model, prompts, direction.site, at, intervention=intervention)
    return direction.project(found[:, 0])


def logits(
    model: ChatModel, prompts: Sequence[ChatPrompt], intervention: AnyIntervention | None = None
) -> Float[Tensor, "n vocab"]:
    """Next-token logits after each prompt, in the order given, float32 on the CPU.

    Raises:
        PromptError: if there are no prompts.
    """
    tokens = model.tokenize(prompts)
    out: Tensor | None = None
    for members, edits in edited_alike(intervention, model, tokens):
        for rows, found in last_logits(model, model.lay_out([tokens[i] for i in members]), edits):
            if out is None:
                out = torch.empty(len(tokens), found.shape[-1])
            out[torch.tensor(members)[rows.cpu()]] = found.float().cpu()
    assert out is not None
    return out
