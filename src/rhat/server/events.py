"""What the engine thread tells of the work in hand."""

from __future__ import annotations

from dataclasses import dataclass

from rhat.generation import FinishReason
from rhat.server.errors import RequestError


@dataclass(frozen=True)
class AnswerToken:
    """A token of an answer: its text, and what was asked to be noted of it."""

    token: int
    text: str
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    arriving: float | None = None  # projection as it arrives at the direction's site
    leaving: float | None = None  # and after the edits there


@dataclass(frozen=True)
class Started:
    """Answer `index` has a slot. `applied` says which interventions are on; `prompt` holds the prompt's projections."""

    index: int
    applied: tuple[bool, ...]
    prompt: tuple[float, float] | None = None


@dataclass(frozen=True)
class Echoed:
    """The tokens of answer `index`'s prompt, with their log-probabilities; the first has none."""

    index: int
    tokens: tuple[AnswerToken, ...]


@dataclass(frozen=True)
class TokensEvent:
    """Answer `index` goes on."""

    index: int
    tokens: tuple[AnswerToken, ...]


@dataclass(frozen=True)
class Done:
    """Answer `index` is complete; `rest` is text that had been held back."""

    index: int
    reason: FinishReason
    n_tokens: int
    rest: str = ""


@dataclass(frozen=True)
class Projected:
    """Projections of prompts."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Failed:
    """The work could not be done."""

    error: RequestError


Event = Started | Echoed | TokensEvent | Done | Projected | Failed
