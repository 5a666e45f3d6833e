"""Refusal tokens: found from the model's own completions, not listed per model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rhat.errors import StudyError
from rhat.generation import Completion
from rhat.reprs import one_line
from rhat.scoring.phrases import BUILT_IN, Phrases


@dataclass(frozen=True)
class RefusalToken:
    """A first token of refusals: its id, text, share of refusals and of answers to harmless prompts."""

    id: int
    text: str
    share: float
    harmless_share: float

    __repr__ = one_line


def find_refusal_tokens(
    harmful: Sequence[Completion],
    harmless: Sequence[Completion],
    decode: Callable[[Sequence[int]], str],
    *,
    coverage: float = 0.98,
    most: int = 8,
    phrases: Phrases = BUILT_IN,
    given: Sequence[int] = (),
) -> tuple[RefusalToken, ...]:
    """The first tokens that most refusals begin with and few answers to harmless prompts do.

    Completions of training prompts only. Tokens are taken by their share of the refusals until they cover `coverage` of
    them; one that begins more harmless answers than refusals, relatively, is left out. Empty if nothing was refused.
    Token ids that were `given` are taken as they are; where nothing reads as a refusal, their shares are of all answers.
    """
    refused = Counter(c.tokens[0] for c in harmful if c.tokens and phrases.is_refusal(c.text))
    answered = Counter(c.tokens[0] for c in harmless if c.tokens and not phrases.is_refusal(c.text))
    if given and not refused:
        refused = Counter(c.tokens[0] for c in harmful if c.tokens)
    n_refused, n_answered = max(sum(refused.values()), 1), max(sum(answered.values()), 1)
    if given:
        return tuple(RefusalToken(t, decode([t]), refused[t] / n_refused, answered[t] / n_answered) for t in given)
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


def chosen_tokens(tokenizer: Any, asked: Sequence[int | str]) -> tuple[int, ...]:
    """Ids of refusal tokens that the user names by id or by text.

    Raises:
        StudyError: if an id is out of range, or a text is not exactly one token.
    """
    found: list[int] = []
    for one in asked:
        if isinstance(one, str):
            ids = tokenizer(one, add_special_tokens=False)["input_ids"]
            if len(ids) != 1:
                parts = ", ".join(repr(tokenizer.decode([i])) for i in ids)
                raise StudyError(
                    f"--refusal-tokens {one!r}: got {len(ids)} tokens ({parts}), expected a text that is one; give the first "
                    "token of a refusal, or its id"
                )
            found += ids
        elif 0 <= one < len(tokenizer):
            found.append(one)
        else:
            raise StudyError(f"--refusal-tokens {one}: this model's token ids are 0 to {len(tokenizer) - 1}")
    return tuple(dict.fromkeys(found))
