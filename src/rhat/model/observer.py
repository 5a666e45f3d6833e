"""The token context of forward passes that other code makes, worked out from what the model is called with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rhat.model.positions import TokenContext


class Observer:
    """Works out the token context of a forward pass that somebody else makes (hf.generate, a pipeline, a harness)."""

    def __init__(self, template_length: int) -> None:
        self.template_length = template_length
        self.context: TokenContext | None = None
        # of the running generation
        self.prompt_length: Tensor | None = None
        # set by hf.generate's wrapper: prompt lengths are known, whatever the cache does
        self.fixed = False
        # what the whole model was called with; the decoder of a multimodal model does not see it
        self.mask: Tensor | None = None

    def see(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take the arguments of a call of the decoder; `context` is then that of its tokens."""
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None:
            ids = kwargs.get("inputs_embeds")
        if ids is None:
            return
        batch, seq = ids.shape[:2]
        cache = kwargs.get("past_key_values")
        past = int(cache.get_seq_length()) if cache is not None else 0
        masks = (kwargs.get("attention_mask"), self.mask)
        mask = next((m for m in masks if isinstance(m, Tensor) and m.ndim == 2 and m.shape[1] >= past + seq), None)
        if mask is not None and cache is None:  # a model that keeps its state to itself: the mask tells how far it is
            past = mask.shape[1] - seq
        device = ids.device
        if mask is not None and len(mask) == batch:
            seen = mask[:, : past + seq].bool()
            positions = (seen.long().cumsum(-1) - 1)[:, past:]
            real = seen[:, past:]
        else:
            given = kwargs.get("position_ids")
            if isinstance(given, Tensor) and given.ndim == 2:
                positions = given.long().expand(batch, seq)
            else:
                positions = torch.arange(past, past + seq, device=device).expand(batch, seq)
            real = torch.ones(batch, seq, dtype=torch.bool, device=device)
        # The first pass of a generation holds the whole prompt: an empty cache says so. A filled cache that nobody saw being
        # filled (a chat that goes on) counts as prompt up to here. Later passes are answers, and leave the length alone.
        if not self.fixed and (past == 0 or self.prompt_length is None):
            self.prompt_length = real.sum(-1) if past == 0 else positions[:, 0].clone()
        length = self.prompt_length
        assert length is not None
        if len(length) != batch:  # beams: each prompt's row repeated
            length = length.repeat_interleave(batch // len(length)) if batch % len(length) == 0 else real.sum(-1)
        length = length.to(device)
        self.context = TokenContext(
            positions=positions.clamp_min(0),
            real=real,
            prompt_length=length,
            template_start=(length - self.template_length).clamp_min(0),
            rows=torch.arange(batch, device=device),
            padded=not bool(real.all()),
        )
