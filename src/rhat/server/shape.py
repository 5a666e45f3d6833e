"""The shape of an answer: OpenAI's, and what `rhat` adds."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rhat.directions import Direction
from rhat.server.events import AnswerToken
from rhat.server.options import ResolvedOptions


@dataclass(frozen=True, eq=False)
class Prompt:
    """A tokenised prompt, how many new tokens it gets, and how many were asked for (None: as many as there are).

    echo  its text and the pieces of its tokens, where the answer repeats it
    chat  whether the chat template is around it
    """

    tokens: tuple[int, ...]
    new: int
    wanted: int | None
    echo: tuple[str, tuple[str, ...]] | None = None
    chat: bool = True

    @property
    def cut(self) -> bool:
        """Whether it gets fewer new tokens than were asked for."""
        return self.wanted is not None and self.new < self.wanted

    @property
    def repeated(self) -> str:
        """What of it the answer repeats."""
        return "" if self.echo is None else self.echo[0]


@dataclass(frozen=True, eq=False)
class ResponseShape:
    """How one request is answered.

    prompts        the prompt of each answer
    n_prompt       prompt tokens of its prompts, each counted once
    asked          its interventions, and the direction it wants projections on
    token_text     token id → its text, special tokens shown
    ignored        fields that were accepted and that the model is not shown
    """

    prompts: tuple[Prompt, ...]
    model: str
    n_prompt: int
    asked: ResolvedOptions
    token_text: Callable[[int], str]
    logprobs: bool
    seed: int | None
    include_usage: bool = False
    ignored: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:24])
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def chat(self) -> bool:
        """Whether these are chat completions, or plain ones."""
        return self.prompts[0].chat

    @property
    def direction(self) -> Direction | None:
        """The direction on which tokens are projected, if any."""
        return self.asked.direction

    def frame(self, chunk: bool) -> dict[str, Any]:
        """What every answer and every chunk begins with."""
        kind = "chat.completion" if self.chat else "text_completion"
        return {
            "id": ("chatcmpl-" if self.chat else "cmpl-") + self.id,
            "object": f"{kind}.chunk" if chunk and self.chat else kind,
            "created": self.created,
            "model": self.model,
        }

    def usage(self, said: int) -> dict[str, int]:
        """Token counts, where answers of `said` tokens were generated."""
        return {"prompt_tokens": self.n_prompt, "completion_tokens": said, "total_tokens": self.n_prompt + said}

    def rhat(self, index: int, applied: tuple[bool, ...]) -> dict[str, Any]:
        """What was done to answer number `index`, and what was not done as asked."""
        prompt = self.prompts[index]
        parts = [{**part.describe(), "applied": on} for part, on in zip(self.asked.parts, applied, strict=True)]
        said: dict[str, Any] = {"interventions": parts}
        if self.seed is not None:
            said["seed"] = self.seed
        if prompt.cut:
            said["max_tokens"] = {"asked": prompt.wanted, "given": prompt.new}
        if self.ignored:
            said["ignored"] = list(self.ignored)
        return said

    def projections(self, prompt: tuple[float, float] | None) -> dict[str, Any] | None:
        """On what tokens are projected, with the scale to read it by, and the prompt's projection."""
        if self.asked.projected is None or prompt is None:
            return None
        name, r = self.asked.projected
        return {
            "direction": name,
            "site": str(r.site),
            "position": r.position,
            "mean_harmful": r.means[0],
            "mean_harmless": r.means[1],
            "prompt": finite(prompt[0]),
        }

    def token(self, token: AnswerToken) -> dict[str, Any]:
        """A token with its projection, and what the edits at that site made of it."""
        return {
            "token": token.text,
            "id": token.token,
            "projection": finite(token.arriving),
            "edited_projection": finite(token.leaving),
        }

    def chat_logprobs(self, tokens: Sequence[AnswerToken]) -> dict[str, Any] | None:
        """Chat completions' logprobs."""
        if not self.logprobs:
            return None

        def one(token: int, logprob: float | None) -> dict[str, Any]:
            text = self.token_text(token)
            known = "\N{REPLACEMENT CHARACTER}" not in text
            return {"token": text, "logprob": low(logprob), "bytes": list(text.encode()) if known else None}

        content = [
            {**one(t.token, t.logprob), "top_logprobs": [one(token, value) for token, value in t.top]} for t in tokens
        ]
        return {"content": content, "refusal": None}

    def text_logprobs(self, tokens: Sequence[AnswerToken], offset: int) -> dict[str, Any] | None:
        """Plain completions' logprobs; `offset` characters come before these tokens. A prompt's first token has none."""
        if not self.logprobs:
            return None
        offsets: list[int] = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token.text)
        return {
            "tokens": [self.token_text(t.token) for t in tokens],
            "token_logprobs": [None if t.logprob is None else low(t.logprob) for t in tokens],
            "top_logprobs": [None if t.logprob is None else self._likeliest(t) for t in tokens],
            "text_offset": offsets,
        }

    def _likeliest(self, token: AnswerToken) -> dict[str, float]:
        """The likeliest tokens by their text; of those that read the same (parts of characters) the likeliest one."""
        found: dict[str, float] = {}
        for other, value in token.top:
            found.setdefault(self.token_text(other), low(value))
        return found


def finite(value: float | None) -> float | None:
    """The value, or None where it is not a finite number (JSON has no others)."""
    return value if value is not None and math.isfinite(value) else None


def low(logprob: float | None) -> float:
    """A log-probability as JSON can carry it: OpenAI's −9999 stands for impossible."""
    return logprob if logprob is not None and math.isfinite(logprob) else -9999.0
