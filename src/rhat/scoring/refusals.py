"""Refusal rates by generation: one verdict per prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rhat.generation import Completion, Row
from rhat.generation.choosing import greedy
from rhat.generation.completions import SLOTS, generate_tokens
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits
from rhat.model.plans import TokenIds
from rhat.model.template import ChatPrompt
from rhat.reprs import one_line
from rhat.scoring.phrases import BUILT_IN, Phrases, Verdict
from rhat.vocabulary import JUDGED_TOKENS


@dataclass(frozen=True, eq=False)
class Refusals:
    """Completions and verdicts of one condition, prompt by prompt, in the prompts' order."""

    completions: tuple[Completion, ...]
    verdicts: tuple[Verdict, ...]

    __repr__ = one_line

    @property
    def refused(self) -> np.ndarray:
        """True where the completion refuses."""
        return np.array([v == "refused" for v in self.verdicts], dtype=bool)

    def count(self, which: Verdict) -> int:
        """How many completions got that verdict."""
        return sum(v == which for v in self.verdicts)


def refusals(
    model: ChatModel,
    prompts: Sequence[ChatPrompt] | Sequence[TokenIds],
    edits: Edits | None = None,
    *,
    max_new_tokens: int = JUDGED_TOKENS,
    phrases: Phrases = BUILT_IN,
    stop_early: bool = True,
    n_slots: int = SLOTS,
    first_logits: Callable[[list[int], Tensor], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    edits_per_prompt: Sequence[Edits | None] | None = None,
) -> Refusals:
    """Greedy completions of prompts (instructions, conversations or token ids), of at most 24 tokens, judged; a row stops as soon as its verdict is settled.

    It is once a refusal is plain whatever follows; the rest are run to the end, so that degenerate ones are seen. `first_logits(which prompts,
    their next-token logits)` sees the logits after the prompts on the way, so that scores cost no second pass. `edits_per_prompt`
    holds one more mapping of edits for each prompt, for that prompt alone.
    """

    def choose(logits: Tensor, rows: Sequence[Row]) -> Tensor:
        fresh = [i for i, row in enumerate(rows) if not row.generated]
        if first_logits is not None and fresh:
            first_logits([rows[i].request.row for i in fresh], logits[fresh])
        return greedy(logits, rows)

    completions = generate_tokens(
        model,
        model.tokens_of(prompts),
        edits,
        max_new_tokens=max_new_tokens,
        until=(lambda text: phrases.settled(text) is not None) if stop_early else None,
        n_slots=n_slots,
        progress=progress,
        choose=choose,
        edits_per_prompt=edits_per_prompt,
    )
    return Refusals(tuple(completions), tuple(phrases.verdict(c.text) for c in completions))
