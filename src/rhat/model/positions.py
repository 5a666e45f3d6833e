"""Token scopes: which tokens of a sequence an edit may touch, absolute in the sequence.

Positions are absolute within a row's real tokens (padding does not count), so a scope means the same tokens in prefill,
in decode, under left padding and in a batch of unequal lengths.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from rhat.errors import InterventionError
from rhat.reprs import one_line
from rhat.vocabulary.scopes import SCOPES, WRITTEN, ScopeKind


@dataclass(frozen=True, eq=False)
class TokenContext:
    """Which tokens an activation belongs to.

    positions       absolute position of each token in its row, from 0; padding tokens have any value
    real            False at padding
    prompt_length   number of prompt tokens of each row
    template_start  position of the first template token after the instruction; template tokens run to prompt_length − 1
    rows            an id for each row, stable over prefill and decode
    padded          whether any token here is padding (False lets edits skip masking)
    length          tokens of each row's sequence, where more than the prompt or these tokens count (see `rotation`)
    aligned         whether every row has the same positions, and n_real: how many tokens are real. Both are numbers of the
                    host, so that nothing need be read back from a device; None where nobody knew
    """

    positions: Int[Tensor, "batch seq"]
    real: Bool[Tensor, "batch seq"]
    prompt_length: Int[Tensor, " batch"]
    template_start: Int[Tensor, " batch"]
    rows: Int[Tensor, " batch"]
    padded: bool = True
    length: Int[Tensor, " batch"] | None = None
    aligned: bool | None = None
    n_real: int | None = None

    __repr__ = one_line

    @classmethod
    def for_prompts(
        cls,
        lengths: Int[Tensor, " batch"],
        template_lengths: "Int[Tensor, ' batch'] | int",
        rows: Int[Tensor, " batch"],
        shared: int = 0,
    ) -> "TokenContext":
        """Prompts of these lengths padded on the right, without their first `shared` tokens."""
        own = lengths - shared
        column = torch.arange(int(own.max()), device=lengths.device)
        return cls(
            positions=(shared + column).expand(len(lengths), -1).contiguous(),
            real=column[None] < own[:, None],
            prompt_length=lengths,
            template_start=lengths - template_lengths,
            rows=rows,
            padded=bool((own < len(column)).any()),
            aligned=True,
            n_real=int(own.sum()),
        )

    @classmethod
    def for_left_padded(
        cls,
        mask: Int[Tensor, "batch seq"],
        prompt_length: Int[Tensor, " batch"],
        template_lengths: "Int[Tensor, ' batch'] | int",
        rows: Int[Tensor, " batch"],
    ) -> "TokenContext":
        """Whole sequences padded on the left, where `mask` is 0."""
        return cls(
            positions=(mask.cumsum(-1) - 1).clamp_min(0),
            real=mask.bool(),
            prompt_length=prompt_length,
            template_start=prompt_length - template_lengths,
            rows=rows,
            padded=not bool(mask.all()),
        )

    @classmethod
    def for_prefix(
        cls, n: int, prompt_length: int, template_length: int, row: int = -1, device: "torch.device | str" = "cpu"
    ) -> "TokenContext":
        """The first `n` tokens of one sequence; row −1 is nobody's: a prefix that several rows share."""
        length = torch.tensor([prompt_length], device=device)
        return cls(
            positions=torch.arange(n, device=device)[None],
            real=torch.ones(1, n, dtype=torch.bool, device=device),
            prompt_length=length,
            template_start=length - template_length,
            rows=torch.tensor([row], device=device),
            padded=False,
            aligned=True,
            n_real=n,
        )

    @classmethod
    def for_step(
        cls,
        positions: Int[Tensor, " batch"],
        prompt_length: Int[Tensor, " batch"],
        template_lengths: "Int[Tensor, ' batch'] | int",
        rows: Int[Tensor, " batch"],
        aligned: bool | None = None,
    ) -> "TokenContext":
        """One token of each row, at its own position; `aligned` where it is known whether they are the same."""
        return cls(
            positions=positions[:, None],
            real=torch.ones(len(positions), 1, dtype=torch.bool, device=positions.device),
            prompt_length=prompt_length,
            template_start=prompt_length - template_lengths,
            rows=rows,
            padded=False,
            aligned=aligned,
            n_real=len(positions),
        )

    def repeated(self, times: int) -> "TokenContext":
        """This context repeated `times` times, one copy after the other."""
        n_real = None if self.n_real is None else times * self.n_real
        return replace(self._each(lambda x: x.repeat(times, *[1] * (x.ndim - 1))), n_real=n_real)

    def select(self, rows: "slice | Int[Tensor, ' some']") -> "TokenContext":
        """The context of some rows."""
        some = self._each(lambda x: x[rows])
        return replace(some, n_real=None if self.padded else some.positions.numel(), aligned=self.aligned or None)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "TokenContext":
        """Every tensor changed in the same way."""
        changed: dict[str, Any] = {
            f.name: change(x) for f in fields(self) if isinstance(x := getattr(self, f.name), Tensor)
        }
        return replace(self, **changed)

    @cached_property
    def places(self) -> Int[Tensor, " real"]:
        """Where the real tokens are among all of the batch, row after row."""
        found: Tensor = self.real.flatten().nonzero()[:, 0]
        return found

    @cached_property
    def share_real(self) -> float:
        """The share of tokens that are real."""
        n = int(self.real.sum()) if self.n_real is None else self.n_real
        return n / max(1, self.real.numel())

    def inside(self, scope: "Scope") -> Bool[Tensor, "batch seq"]:
        """True at the tokens of a scope; worked out once for every site of a pass."""
        if scope not in self._inside:
            self._inside[scope] = scope.mask(self)
        return self._inside[scope]

    @cached_property
    def _inside(self) -> "dict[Scope, Tensor]":
        return {}

    def to(self, device: torch.device) -> "TokenContext":
        """The same context on another device."""
        return self if self.positions.device == device else self._each(lambda x: x.to(device))


BEYOND = 2**31
"""A position that no sequence reaches: the first position of an edit that changes nothing."""


@dataclass(frozen=True)
class Scope:
    """A set of tokens, by name: a name of `rhat.vocabulary.SCOPES`, with N where that kind is counted.

    all                 every token, prompt and generated
    prompt              the prompt's tokens
    generated           the generated tokens, each from when it is fed back: the first one's own logits come from the prompt
    last_prompt_token   the last prompt token only
    template            the template tokens after the instruction
    first_generated     the first `n` generated tokens, written first_generated:n
    """

    name: str
    n: int = 0

    __repr__ = one_line

    @classmethod
    def parse(cls, text: "str | Scope") -> "Scope":
        """The scope written `name` or, where it is counted, `name:n`.

        Raises:
            InterventionError: if there is no such scope.
        """
        if isinstance(text, Scope):
            return text
        name, colon, count = text.partition(":")
        kind = SCOPES.get(name)
        if kind is not None and kind.counted and colon and count.isdecimal() and int(count) > 0:
            return cls(name, int(count))
        if kind is not None and not kind.counted and not colon:
            return cls(name)
        raise InterventionError(f"scope {text!r}: expected one of {WRITTEN}, with N of 1 or more")

    def __str__(self) -> str:
        return f"{self.name}:{self.n}" if self.n else self.name

    @property
    def kind(self) -> ScopeKind:
        """What its name means.

        Raises:
            InterventionError: if there is no such scope.
        """
        if self.name not in SCOPES:
            raise InterventionError(f"scope {self.name!r}: expected one of {WRITTEN}")
        return SCOPES[self.name]

    def mask(self, context: TokenContext) -> Bool[Tensor, "batch seq"]:
        """True at the tokens of this scope; padding is never in it."""
        starts, ends = context.template_start[:, None], context.prompt_length[:, None]
        inside: Tensor = self.kind.inside(context.positions, starts, ends, self.n) & context.real
        return inside

    def first_position(self, prompt_length: int, template_start: int) -> int:
        """The first absolute position that this scope can touch in a row of that shape."""
        return self.kind.first(template_start, prompt_length)
