"""Options: how likely a model is to answer a prompt with each of some texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.executor import Progress
from rhat.generation import Row
from rhat.generation.completions import generate_tokens
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits
from rhat.model.precision import wide
from rhat.model.protocol import AnyIntervention, PerPrompt, edits_per_prompt
from rhat.model.template import ChatPrompt
from rhat.scoring.capability.items import Item

BLOCK = 32  # rows whose vocabulary is taken to float64 at once


def option_scores(
    model: ChatModel,
    items: Sequence[Item],
    intervention: AnyIntervention | Edits | None = None,
    *,
    prompts: Sequence[ChatPrompt] | None = None,
    edits_per_item: Sequence[Edits] | None = None,
    progress: Progress | None = None,
) -> list[Float[Tensor, " options"]]:
    """Mean log-probability a token (nats) of each option as the beginning of the answer, item by item; float64, on the CPU.

    An option's score is Σ log p(token | prompt, tokens before it) / its number of tokens, so that longer options are not
    worse for being longer; tokens of the option are those of its text alone, and the end of the answer is not scored. The tokens count as generated, as
    while decoding. Options are decoded in one batch, their tokens forced, so that a prompt's options share its prefix and
    the blocks that are not edited; those of one token need one pass over the prompt for all. A model that thinks is asked after an empty think block.

    `prompts` are asked in place of the items' own, one for each. `edits_per_item`, in place of `intervention`, edits each item
    in its own way: items that are given several times over share the blocks below the first that is edited.
    """
    model = model.at_once
    tokenized = model.tokenize([item.prompt for item in items] if prompts is None else prompts)
    tokens = [
        [tuple(model.tokenizer(o, add_special_tokens=False)["input_ids"]) for o in item.options] for item in items
    ]
    rows = _rows(tokens)
    asked = [tokenized[item] for item, _ in rows]
    forced = _Forced(model, tokens, rows)
    own: Sequence[Edits | None] | None = None
    if edits_per_item is not None:
        own = [edits_per_item[item] for item, _ in rows]
    elif isinstance(intervention, PerPrompt):
        own = edits_per_prompt(intervention, model, asked)
    edits = intervention if isinstance(intervention, Mapping) else None
    if own is None and isinstance(intervention, AnyIntervention):
        edits = intervention.edits(model)
    longest = max(len(option) for options in tokens for option in options)
    generate_tokens(model, asked, edits, max_new_tokens=longest, choose=forced, edits_per_prompt=own, progress=progress)
    return [sums / torch.tensor([len(o) for o in options]) for sums, options in zip(forced.sums, tokens, strict=True)]


def _rows(tokens: Sequence[Sequence[tuple[int, ...]]]) -> list[tuple[int, int]]:
    """Which (item, option) are decoded: those of several tokens, and one of an item that has none."""
    found = []
    for item, options in enumerate(tokens):
        long = [i for i, option in enumerate(options) if len(option) > 1]
        found += [(item, option) for option in long or [0]]
    return found


class _Forced:
    """Chooses each row's next token as its option has it, and adds up how likely it was; the first of a prompt, of all its options."""

    def __init__(
        self, model: ChatModel, tokens: Sequence[Sequence[tuple[int, ...]]], rows: Sequence[tuple[int, int]]
    ) -> None:
        self.tokens, self.rows = tokens, rows
        self.end = min(model.eos_ids, default=0)
        self.first = {item: index for index, (item, _) in reversed(list(enumerate(rows)))}
        self.sums = [torch.zeros(len(options), dtype=torch.float64) for options in tokens]

    def __call__(self, logits: Float[Tensor, "rows vocab"], rows: Sequence[Row]) -> Int[Tensor, " rows"]:
        chosen = []
        for begin in range(0, len(rows), BLOCK):
            some = rows[begin : begin + BLOCK]
            likely = wide(logits[begin : begin + BLOCK]).log_softmax(-1).cpu()
            for values, row in zip(likely, some, strict=True):
                item, option = self.rows[row.request.row]
                mine, at = self.tokens[item][option], len(row.generated)
                if at == 0 and self.first[item] == row.request.row:
                    self.sums[item] += values[[o[0] for o in self.tokens[item]]]
                if 0 < at < len(mine):
                    self.sums[item][option] += values[mine[at]]
                chosen.append(mine[at] if at + 1 < len(mine) else self.end)  # the last is scored and not fed
        return torch.tensor(chosen, device=logits.device)
