"""Requests, and the rows that they become in a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.errors import NonFiniteError
from rhat.generation.text import Text
from rhat.generation.thinking import Block
from rhat.model.chat import ChatModel
from rhat.model.completion import Completion, FinishReason
from rhat.model.edits import Edits
from rhat.model.markup import raw
from rhat.model.sampling import Sampling
from rhat.reprs import one_line
from rhat.sites import Site


@dataclass(frozen=True, eq=False)
class Probe:
    """What to read of every token: the projection on `unit` at `site`, as it arrives and after the edits there."""

    site: Site
    unit: Float[Tensor, " d_model"]

    __repr__ = one_line


@dataclass(frozen=True)
class TokenLogprob:
    """Log-probability of a token under the model's own distribution (temperature 1), and of the likeliest ones."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()

    __repr__ = one_line


@dataclass(frozen=True, eq=False)
class Request:
    """A tokenised prompt to be answered.

    row              an id of the caller's, given to the engine's edits as the context's row id
    until            stops the row once it returns True of the text so far
    edits            this request's own edits. Requests that share one mapping object are edited together. They are asked
                     with row id −1 for a prompt prefix that several requests share, so they must not look at row ids
    sampling         how tokens are drawn; None takes the likeliest
    stop             strings that end the answer, which is then cut before them; None keeps no text
    logprobs         how many likeliest tokens to note the log-probability of, besides the one drawn; None notes none
    probe            what to read of each token from the first template token on; None reads nothing
    template_length  template tokens at the prompt's end; None is the model's own, 0 for a prompt without a template
    thinking         tokens that a think block before the answer may have, besides `max_new_tokens` of the answer; 0 expects
                     none, and its tokens are then those of the answer
    """

    tokens: tuple[int, ...]
    max_new_tokens: int
    row: int = 0
    until: Callable[[str], bool] | None = None
    ignore_eos: bool = False
    edits: Edits | None = None
    sampling: Sampling | None = None
    stop: tuple[str, ...] | None = None
    logprobs: int | None = None
    probe: Probe | None = None
    template_length: int | None = None
    thinking: int = 0

    __repr__ = one_line

    @property
    def most(self) -> int:
        """New tokens at most, those of a think block included."""
        return self.max_new_tokens + self.thinking


@dataclass(eq=False)
class Row:
    """A request in the batch, and the tokens generated so far.

    text               its text, where the request asks for it (`stop`)
    logprobs           one for each generated token, where asked for
    projection_before  position → projection as it arrives at the probe's site
    projection_after   the same after the edits there
    block              the think block before the answer, where one is expected
    error              why it failed, where that ends this row alone
    pending_reason     why it will leave once its last token has been read (only rows with a probe wait for that)
    """

    request: Request
    generated: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    text: Text | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)
    projection_before: dict[int, float] = field(default_factory=dict)
    projection_after: dict[int, float] = field(default_factory=dict)
    pending_reason: FinishReason | None = None
    generator: torch.Generator | None = None
    error: NonFiniteError | None = None
    block: Block | None = None

    __repr__ = one_line

    @property
    def length(self) -> int:
        """Tokens whose keys are in the cache: the prompt and all but the newest of the generated ones."""
        return len(self.request.tokens) + max(len(self.generated) - 1, 0)

    @property
    def sequence(self) -> tuple[int, ...]:
        """The prompt and what was generated."""
        return (*self.request.tokens, *self.generated)

    @property
    def said(self) -> list[int]:
        """The tokens of the answer, after the think block where there is one."""
        return self.generated if self.block is None else self.generated[self.block.length :]

    def append(self, token: int, model: ChatModel) -> None:
        """Add a token, and note whether that ends the row."""
        request = self.request
        self.generated.append(token)
        ended = token in model.eos_ids and not request.ignore_eos
        if request.thinking and not ended:
            self.block = self.block or Block(model.tokenizer, model.template.begun)
            self.block.push(self.generated)
        if self.text is not None and not ended:
            self.text.push(token)
        reason: FinishReason | None = None
        if ended or (self.text is not None and self.text.stopped):
            reason = "stop"
        elif self.block is not None and self.block.state != "done":
            most = request.most if self.block.state == "closed" else request.thinking
            reason = "length" if len(self.generated) >= most else None
        elif request.until is not None and request.until(decoded(model.tokenizer, self.said)):
            reason = "until"
        elif len(self.said) >= request.max_new_tokens or len(self.generated) >= request.most:
            reason = "length"
        if reason is not None and self.text is not None:
            self.text.finish()
        if request.probe is not None and not ended:
            self.pending_reason = reason
        else:
            self.finish_reason = reason

    def completion(self, tokenizer: Any) -> Completion:
        """What a finished row became."""
        text = decoded(tokenizer, self.said) if self.text is None or self.block is not None else str(self.text)
        before = () if self.block is None else tuple(self.generated[: self.block.length])
        return Completion(
            text, tuple(self.said), self.finish_reason or "length", before, raw(tokenizer, before) if before else ""
        )


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of generated tokens, special ones left out."""
    text: str = tokenizer.decode(list(tokens), skip_special_tokens=True)
    return text


Choose = Callable[[Float[Tensor, "rows vocab"], Sequence[Row]], Tensor]
