"""How tokenised prompts are laid out for the fast path: one shared prefix, then batches by length, padded on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from rhat.model.positions import TokenContext

TokenIds = Sequence[int]


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts of about one length, without the prefix that all prompts of the plan share, padded on the right."""

    ids: Int[Tensor, "rows seq"]
    lengths: Int[Tensor, " rows"]  # real tokens of each row, the shared prefix not counted
    context: TokenContext

    @property
    def rows(self) -> Int[Tensor, " rows"]:
        """Which prompts of the plan these are."""
        return self.context.rows


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """How a set of tokenised prompts is run: one shared prefix, then batches by length."""

    prefix: Int[Tensor, "1 prefix"]
    batches: tuple[Batch, ...]
    prompts: tuple[tuple[int, ...], ...]
    template_length: int

    def __len__(self) -> int:
        return len(self.prompts)

    def __repr__(self) -> str:
        return f"Plan({len(self)} prompts in {len(self.batches)} batches, {self.prefix_length} tokens shared)"

    @property
    def prefix_length(self) -> int:
        """Tokens that every prompt starts with and that are run once."""
        return self.prefix.shape[1]

    def prefix_context(self) -> TokenContext:
        """Where the shared prefix stands: at the start of a prompt as long as the shortest one."""
        shortest = min(len(p) for p in self.prompts)
        return TokenContext.for_prefix(self.prefix_length, shortest, self.template_length, device=self.prefix.device)


def followed(plan: Plan, tokens: TokenIds, template_length: int) -> Plan:
    """The same prompts in the same batches, each followed by these tokens; `template_length` is that of the longer prompts."""
    prompts = tuple((*prompt, *tokens) for prompt in plan.prompts)
    device = plan.prefix.device
    batches = tuple(
        make_batch([prompts[i] for i in rows], rows, plan.prefix_length, template_length, device)
        for rows in (batch.rows.tolist() for batch in plan.batches)
    )
    return Plan(plan.prefix, batches, prompts, template_length)


def common_prefix(prompts: Sequence[TokenIds]) -> int:
    """How many first tokens all prompts have in common."""
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def plan(
    prompts: Sequence[TokenIds],
    template_length: int,
    *,
    device: torch.device | str = "cpu",
    max_tokens: int = 2048,
    max_rows: int = 64,
    share_prefix: bool = True,
) -> Plan:
    """Lay prompts out in batches of nearly equal length, of at most `max_rows` rows and `max_tokens` tokens.

    The longest come first: what later batches need then fits into memory that earlier ones have left.
    The shared prefix always leaves at least the template tokens after the instruction, and one token, to each row.
    """
    texts = tuple(tuple(p) for p in prompts)
    shortest = min(len(p) for p in texts)
    shared = max(0, min(common_prefix(texts), shortest - max(template_length, 1))) if share_prefix else 0
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    groups: list[list[int]] = []
    for i in order:
        longest = len(texts[i]) - shared
        if groups and len(groups[-1]) < max_rows and (len(groups[-1]) + 1) * longest <= max_tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    batches = tuple(make_batch([texts[i] for i in g], g, shared, template_length, device) for g in reversed(groups))
    return Plan(torch.tensor([texts[0][:shared]], dtype=torch.long, device=device), batches, texts, template_length)


def make_batch(
    prompts: Sequence[TokenIds],
    rows: Sequence[int],
    shared: int,
    template_lengths: Int[Tensor, " rows"] | int,
    device: torch.device | str,
) -> Batch:
    """Whole prompts as one batch without their first `shared` tokens, padded on the right; `rows` are their ids."""
    lengths = torch.tensor([len(p) for p in prompts])
    ids = torch.zeros(len(prompts), int(lengths.max()) - shared, dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, : len(prompt) - shared] = torch.tensor(prompt[shared:])
    context = TokenContext.for_prompts(lengths, template_lengths, torch.tensor(rows), shared)
    return Batch(ids.to(device), (lengths - shared).to(device), context.to(torch.device(device)))
