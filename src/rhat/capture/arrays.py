"""Activations and logits of prompts as one tensor each, in the order of the prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.capture.reading import captured
from rhat.errors import PromptError
from rhat.model.chat import ChatModel
from rhat.model.forward import last_logits
from rhat.model.protocol import AnyIntervention, edited_alike
from rhat.model.template import ChatPrompt
from rhat.sites import Site


def activations(
    model: ChatModel,
    prompts: Sequence[ChatPrompt],
    sites: Sequence[Site | str] | Site | str,
    position: int | Sequence[int] = -1,
    *,
    intervention: AnyIntervention | None = None,
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
    tokens = model.tokenize(prompts)
    out: Tensor | None = None
    for members, edits in edited_alike(intervention, model, tokens):
        for rows, found in captured(model, model.lay_out([tokens[i] for i in members]), wanted, positions, edits):
            stacked = torch.stack([found[site].float().cpu() for site in wanted], 1)  # [rows, site, position, d]
            if out is None:
                out = torch.empty(len(tokens), *stacked.shape[1:])
            out[torch.tensor(members)[rows.cpu()]] = stacked
    assert out is not None
    return out[:, :, 0] if isinstance(position, int) else out


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
