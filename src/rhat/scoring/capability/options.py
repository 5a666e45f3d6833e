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
from rhat.scoring.capability.shared import BLOCK, can_share, sums_under
from rhat.scoring.capability.unedited import Question


def option_scores(
    model: ChatModel,
    items: Sequence[Item],
    intervention: AnyIntervention | Edits | None = None,
    *,
    prompts: Sequence[ChatPrompt] | None = None,
    edits_per_item: Sequence[Edits] | None = None,
    of_right: bool = False,
    progress: Progress | None = None,
) -> list[Float[Tensor, " options"]]:
    """Mean log-probability a token (nats) of each option as the beginning of the answer, item by item; float64, on the CPU.

    An option's score is Σ log p(token | prompt, tokens before it) / its number of tokens, so that longer options are not
    worse for being longer; tokens of the option are those of its text alone, and the end of the answer is not scored. The tokens count as generated, as
    while decoding. A prompt is run once under each edit, from the first edited block on, and its options' tokens after it; those of one token
    need the prompt alone. A model that thinks is asked after an empty think block.

    `prompts` are asked in place of the items' own, one for each. `edits_per_item`, in place of `intervention`, edits each item
    in its own way: items that are given several times over share the blocks below the first that is edited. Edits that read, or take
    tokens together, are decoded token by token, as is everything with RHAT_SLOW=1.

    With `of_right` only as far as it takes to know whether each item's right option has the highest score: where the first tokens of
    an option say that it has not, or cannot reach the right one's, its score is an upper bound, which is on the same side (no
    token adds anything above 0).
    """
    model = model.at_once
    tokenized = model.tokenize([item.prompt for item in items] if prompts is None else prompts)
    known = {o: tuple(model.tokenizer(o, add_special_tokens=False)["input_ids"]) for i in items for o in i.options}
    asked = [
        Question(tuple(prompt), tuple(known[o] for o in item.options), item.right if of_right else None)
        for prompt, item in zip(tokenized, items, strict=True)
    ]
    own: Sequence[Edits | None] | None = edits_per_item
    edits: Edits = intervention if isinstance(intervention, Mapping) else {}
    if own is None and isinstance(intervention, PerPrompt):
        own = edits_per_prompt(intervention, model, tokenized)
    elif own is None and isinstance(intervention, AnyIntervention):
        edits = intervention.edits(model)
    each = [edits if own is None else own[i] or edits for i in range(len(asked))]
    conditions = list({id(one): one for one in each}.values())
    if not can_share(model, asked, conditions):
        return decoded_scores(model, asked, each, progress)
    number = {id(one): c for c, one in enumerate(conditions)}
    place = {q: at for at, q in enumerate(dict.fromkeys(asked))}
    pairs = [(place[q], number[id(one)]) for q, one in zip(asked, each, strict=True)]
    different = list(dict.fromkeys(pairs))
    tell = (lambda done: progress(done, len(different))) if progress else (lambda _done: None)
    sums = sums_under(model, list(place), conditions, different, tell)
    return [torch.tensor(sums[pair].scores, dtype=torch.float64) for pair in pairs]


def decoded_scores(
    model: ChatModel, asked: Sequence[Question], edits: Sequence[Edits], progress: Progress | None = None
) -> list[Float[Tensor, " options"]]:
    """The same, decoded token by token: options are rows of one batch, their tokens forced. The reference, and the way for models
    that the fast path does not suit, and for edits that read."""
    tokens = [q.options for q in asked]
    rows = _rows(tokens)
    forced = _Forced(model, tokens, rows)
    generate_tokens(
        model,
        [asked[item].prompt for item, _ in rows],
        max_new_tokens=max(len(option) for options in tokens for option in options),
        choose=forced,
        edits_per_prompt=[edits[item] for item, _ in rows],
        progress=progress,
    )
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
