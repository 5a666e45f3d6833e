"""Activations and logits of prompts as one tensor each, in the order of the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.capture.reading import captured
from rhat.errors import PromptError
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits
from rhat.model.logits import last_logits
from rhat.model.template import ChatPrompt
from rhat.sites import Site


@runtime_checkable
class HasEdits(Protocol):
    """Every kind of intervention: on one direction, several combined, patched heads, conditional ones."""

    def edits(self, model: ChatModel) -> Edits:
        """What `tap` applies to a forward pass."""
        ...


def activations(
    model: ChatModel,
    prompts: Sequence[ChatPrompt],
    sites: Sequence[Site | str] | Site | str,
    position: int | Sequence[int] = -1,
    *,
    intervention: HasEdits | None = None,
) -> Float[Tensor, "n site *position d"]:
    """Activations at sites and positions, one row a prompt in the order given, float32 on the CPU.

    `position` counts from the end of the prompt, −1 its last token. One position gives [n, site, d_model], several give
    [n, site, position, d_model]. With an intervention they are what the edited model goes on with.

    Raises:
        PromptError: if there are no prompts or no sites.
        SiteError: if a site is not in this model, or a prompt is shorter than a position.
    """
    listed = [sites] if isinstance(sites, (Site, str)) else list(sites)
    wanted = [(Site.parse(site) if isinstance(site, str) else site).within(model.n_layers) for site in listed]
    if not wanted:
        raise PromptError('activations: got no sites, expected at least one, such as "resid_pre.12"')
    positions = [position] if isinstance(position, int) else list(position)
    plan = model.plan(prompts)
    edits = None if intervention is None else intervention.edits(model)
    out: Tensor | None = None
    for rows, found in captured(model, plan, wanted, positions, edits):
        stacked = torch.stack([found[site].float().cpu() for site in wanted], 1)  # [rows, site, position, d]
        if out is None:
            out = torch.empty(len(plan), *stacked.shape[1:])
        out[rows.cpu()] = stacked
    assert out is not None
    return out[:, :, 0] if isinstance(position, int) else out


def logits(
    model: ChatModel, prompts: Sequence[ChatPrompt], intervention: HasEdits | None = None
) -> Float[Tensor, "n vocab"]:
    """Next-token logits after each prompt, in the order given, float32 on the CPU.

    Raises:
        PromptError: if there are no prompts.
    """
    plan = model.plan(prompts)
    out: Tensor | None = None
    for rows, found in last_logits(model, plan, None if intervention is None else intervention.edits(model)):
        if out is None:
            out = torch.empty(len(plan), found.shape[-1])
        out[rows.cpu()] = found.float().cpu()
    assert out is not None
    return out
