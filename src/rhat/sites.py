"""Sites: a kind of activation at one layer, written `resid_pre.16`; the only index convention."""

from dataclasses import dataclass
from typing import Literal, get_args

from rhat.errors import SiteError

__all__ = ["KINDS", "Kind", "Site"]

Kind = Literal["resid_pre", "resid_post", "attn_out", "attn_proj", "mlp_out", "head_out", "other_out"]
"""Which activation of a block a site is; `Site` says what each one means."""

KINDS: tuple[Kind, ...] = get_args(Kind)
"""All kinds of site."""


@dataclass(frozen=True, order=True)
class Site:
    """One place in the network where activations are read or edited.

    `kind` is one of:
        resid_pre   the input of block `layer`, [batch, seq, d_model]
        resid_post  its output (the next block's resid_pre)
        attn_out    what its attention adds to the residual stream
        mlp_out     what its MLP adds to the residual stream
        other_out   what a third part adds to it, where a block has one: a state-space mixer beside attention, a per-layer
                    input, a shared MLP beside experts
        head_out    the per-head values at the input of the attention output projection, [batch, seq, heads · head_dim]
        attn_proj   the output of that projection; differs from attn_out where the block normalises or scales it first
    `layer` counts from 0. Which of them a block has is found when a model is loaded; `rhat check` lists them. A block whose
    parts cannot be told apart has resid_pre and resid_post, and its heads, but no attn_out, mlp_out or other_out.
    """

    kind: Kind
    layer: int

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SiteError(f"{self.kind!r}: not a kind of site; the kinds are {', '.join(KINDS)}")
        if self.layer < 0:
            raise SiteError(f"{self.kind}.{self.layer}: layers count from 0; give a layer of 0 or more")

    def __str__(self) -> str:
        return f"{self.kind}.{self.layer}"

    @classmethod
    def parse(cls, text: str) -> "Site":
        """The site written `kind.layer`.

        Raises:
            SiteError: if `text` is not of that form.
        """
        kind, dot, layer = text.rpartition(".")
        if not dot or not layer.isdecimal() or kind not in KINDS:
            raise SiteError(
                f"{text!r}: expected KIND.LAYER with KIND one of {', '.join(KINDS)}, for example resid_pre.16"
            )
        return cls(kind, int(layer))

    def within(self, n_layers: int) -> "Site":
        """This site, if a model of `n_layers` layers has it.

        Raises:
            SiteError: if its layer is too high.
        """
        if self.layer >= n_layers:
            raise SiteError(
                f"{self}: this model has layers 0 to {n_layers - 1}; the last is {self.kind}.{n_layers - 1}"
            )
        return self
