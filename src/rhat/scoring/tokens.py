"""Refusal tokens: found from the model's own completions, not listed per model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rhat.generation.engine import Completion
from rhat.scoring.phrases import is_refusal


@dataclass(frozen=True)
class RefusalToken:
    """A token that refusals begin with: its id, text, share of refusals and of answers to harmless prompts."""

    id: int
    text: str
    share: float
    harmless_share: float


def find_refusal_tokens(
    harmful: Sequence[Completion],
    harmless: Sequence[Completion],
    decode,
    *,
    coverage: float = 0.98,
    most: int = 8,
) -> tuple[RefusalToken, ...]:
    """The first tokens that most refusals begin with and few answers to harmless prompts do.

    Completions of training prompts only. Tokens are taken by their share of the refusals until they cover `coverage` of
    them; one that begins more harmless answers than refusals, relatively, is left out. Empty if nothing was refused.
    """
    refused = Counter(c.tokens[0] for c in harmful if c.tokens and is_refusal(c.text))
    answered = Counter(c.tokens[0] for c in harmless if c.tokens and not is_refusal(c.text))
    n_refused, n_answered = sum(refused.values()), max(sum(answered.values()), 1)
    found: list[RefusalToken] = []
    covered = 0.0
    for token, count in sorted(refused.items(), key=lambda item: (-item[1], item[0])):
        if covered >= coverage or len(found) == most:
            break
        share, harmless_share = count / n_refused, answered[token] / n_answered
        if harmless_share < 0.5 * share:
            found.append(RefusalToken(token, decode([token]), share, harmless_share))
        covered += share
    return tuple(found)
