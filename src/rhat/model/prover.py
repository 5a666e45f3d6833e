"""The short runs of a model by which its sites and laws are proved."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from rhat.model.chat import ChatModel
from rhat.model.checkreport import Check, Outcome
from rhat.model.edits import Edit, Read
from rhat.model.plain import plain_forward
from rhat.model.precision import wide
from rhat.sites import Kind, Site

TEXTS = ("Name a river.", "Why is the sky blue at noon and red in the evening?")


class Prover:
    """A model, a few tokens to run it on, and how far two numbers may differ that should be one.

    tolerance  relative, by precision: far below what a mistake makes, and above what the parts that run in float32 or round to
               bfloat16 leave
    """

    def __init__(self, model: ChatModel) -> None:
        self.model = model
        self.layout = model.layout
        self.prompts = model.tokenize(TEXTS)
        # products of 4-bit weights are rounded as bfloat16's are
        packed = not all(p.is_floating_point() for p in model.hf.parameters())
        self.tolerance = 0.05 if packed else {torch.float64: 1e-5, torch.float32: 1e-3}.get(model.dtype, 0.05)
        self.tokens = min(self.prompts, key=len)[-8:]
        self.noise = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0))

    def module_of(self, kind: Kind, layer: int) -> str | None:
        """The name inside its block of the module that a site hangs on; None if the block has no such part."""
        parts = self.layout.parts[layer]
        if parts.module(kind) is None:
            return None
        proj, attn, mlp, other = parts.names
        named = {"attn_proj": proj, "head_out": proj, "attn_out": attn, "mlp_out": mlp, "other_out": other}
        return named.get(kind, "the block") or None

    def run(self, edits: dict[Site, Edit], n_rows: int = 1) -> Tensor:
        """Logits, float64, of the same few tokens in `n_rows` rows."""
        return wide(plain_forward(self.model, [self.tokens] * n_rows, torch.arange(n_rows), edits))

    def timed(self, what: str, prove: Callable[[], tuple[str, Outcome, str]]) -> Check:
        """What `prove` gives (where, outcome, what was measured), with its time."""
        start = time.perf_counter()
        where, outcome, measured = prove()
        return Check(what, where, outcome, measured, time.perf_counter() - start)

    def read(self, kinds: tuple[Kind, ...]) -> dict[Site, Tensor]:
        """Activations of the few tokens at every site of these kinds that is there."""
        held: dict[Site, Tensor] = {}
        edits: dict[Site, Edit] = {}
        for kind in kinds:
            for layer in range(self.layout.n_layers):
                if self.module_of(kind, layer):
                    site = Site(kind, layer)
                    edits[site] = Read(lambda x, _c, at=site: held.__setitem__(at, x.clone()))  # type: ignore[misc]
        self.run(edits)
        return held
