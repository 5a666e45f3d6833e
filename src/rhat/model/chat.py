"""ChatModel: a Hugging Face decoder with its tokenizer, template and proved layout."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, cast, runtime_checkable

from rhat.errors import DirectionError, PromptError, TemplateError
from rhat.model import proofs
from rhat.model.attention import suited
from rhat.model.completion import Completion
from rhat.model.conversation import checked, is_tokens, with_system
from rhat.model.decoder import Decoder, Execution, slow
from rhat.model.edits import Edits
from rhat.model.fast_path import try_fast_path
from rhat.model.identity import hash_of_weights
from rhat.model.plans import Plan, TokenIds
from rhat.model.sampling import Sampling
from rhat.model.template import ChatPrompt, Template, make_template
from rhat.model.thinking import Thinking, empty_block
from rhat.shorthands import shorthand

log = logging.getLogger(__name__)


@runtime_checkable
class AnyIntervention(Protocol):
    """Every intervention: on a direction, several combined, patched heads, or one that depends on the prompt."""

    def edits(self, model: ChatModel) -> Edits:
        """What `tap` applies to a forward pass of `model`."""
        ...

    def on(self, model: ChatModel) -> AbstractContextManager[ChatModel]:
        """Apply it to every forward pass of `model`, and of `model.hf`, inside the `with`."""
        ...


@runtime_checkable
class HasResponsePrefix(Protocol):
    """What `for_direction` needs of a direction."""

    @property
    def response_prefix(self) -> str:
        """The text with which answers were made to begin where it was found."""
        ...

    @property
    def thinking(self) -> str:
        """Whether the model thought before its answers where it was found: off, on or skip."""
        ...


@dataclass(eq=False, repr=False, kw_only=True)
class ChatModel(Decoder):
    """A chat model that rhat can read, edit and generate with: a decoder with its tokenizer and template.

    identity       hub revision or SHA-256 of the weights
    weight_format  how the weights were stored
    thinking       whether it thinks before its answers; `with_thinking` changes it
    told           warnings that were given of this model, so that each is given once
    """

    tokenizer: Any
    template: Template
    identity: str
    weight_format: str
    thinking: Thinking = field(default_factory=Thinking)
    told: set[str] = field(default_factory=set)

    @cached_property
    def weights(self) -> str | None:
        """Hash of the weights, the same however they were loaded; None where they cannot be read (quantised, on disk)."""
        return hash_of_weights(self.hf)

    @property
    def execution(self) -> Execution:
        """How it is run: by the fast path, if that gives what the plain one gives.

        Tried once, on two prompts, when it is first asked for, and again under another implementation of attention. The
        outcome is kept beside the models, for the same weights run by the same code.
        """
        if self.way is not None:
            return self.way
        with suited(*self._attention):
            attention = self.text_config._attn_implementation
            if attention not in self._tried:
                prompts = self.tokenize(["Name a river.", "Why is the sky blue at noon and red in the evening?"])
                key = proofs.key_of(self.hf, self.identity, "trial", attention, prompts, slow())
                held = proofs.proved(key, lambda: vars(try_fast_path(self, prompts, token=prompts[0][0])))
                found = self._tried[attention] = Execution(**held)
                if found.mask is None:
                    log.info("%s: run by the plain path, the fast one does not suit it (%s)", self.name, found.reason)
            return self._tried[attention]

    @property
    def fast_path(self) -> Execution:
        """How it is run; another name of `execution`."""
        return self.execution

    @cached_property
    def _tried(self) -> dict[str | None, Execution]:
        return {}

    def tokenize(self, prompts: Sequence[ChatPrompt]) -> list[tuple[int, ...]]:
        """Token ids of chat prompts, up to where the answer begins.

        A prompt is an instruction, or a conversation: a list of {"role": …, "content": …} that ends with the user's turn.

        Raises:
            PromptError: if there are no prompts, or they are not strings and conversations.
        """
        if isinstance(prompts, str):
            raise PromptError("expected a list of prompts, got one string; put it in a list")
        prompts = list(prompts)
        if not prompts:
            raise PromptError("expected at least one prompt, got none")
        if isinstance(prompts[0], Mapping):
            raise PromptError("expected a list of prompts, got one conversation; put it in a list")
        return [self.template.render(checked(prompt, number)) for number, prompt in enumerate(prompts, start=1)]

    def tokens_of(self, prompts: Sequence[ChatPrompt] | Sequence[TokenIds]) -> list[TokenIds]:
        """The same of prompts that may be tokenised already, which stay as they are.

        Raises:
            PromptError: if they are not strings, conversations or token ids.
        """
        if not isinstance(prompts, str) and all(is_tokens(prompt) for prompt in prompts):
            return [cast(TokenIds, prompt) for prompt in prompts]
        return list(self.tokenize(cast(Sequence[ChatPrompt], prompts)))

    @property
    def response_prefix(self) -> str:
        """The text with which every answer is made to begin; empty if there is none."""
        return self.template.response_prefix

    def with_response_prefix(self, prefix: str) -> ChatModel:
        """This model, same weights, with prompts that end with `prefix` after the template."""
        if prefix == self.response_prefix:
            return self
        return self._with(prefix, self.template.thinking, self.thinking)

    def with_thinking(self, mode: bool | str = True, tokens: int | None = None) -> ChatModel:
        """This model, same weights, thinking before its answers or not: "on" or True, "off" or False, as it is loaded, or "skip".

        On, the template's switch is on: prompts end where the model opens its think block, or inside it where the template opens
        it or a response prefix does; a completion's `text` is what follows the block, which may have `tokens` tokens (512)
        beside those that are asked for. "skip" ends prompts with an empty think block, for a model that thinks by itself and whose
        template has no switch; where the template puts such a block already, that is "off".

        Raises:
            TemplateError: if there is no such mode, it is on and prompts would be the same as without, or "skip" meets a response prefix.
        """
        thinking = Thinking(
            "on" if mode is True else "off" if mode is False else mode,
            self.thinking.tokens if tokens is None else tokens,
        )
        prefix = "" if self.thinking.mode == "skip" else self.response_prefix
        off = self._with(prefix, False, Thinking("off", thinking.tokens))
        if thinking.mode == "off":
            return off
        if thinking.mode == "skip":
            if prefix:
                raise TemplateError(
                    f"{self.name}: thinking is skipped by a response prefix, and there is one already: {prefix!r}; give one of both"
                )
            block = empty_block(self.tokenizer, off.template.tail)
            return self._with(block, False, thinking) if block else off
        other = self._with(prefix, True, thinking)
        one = "Name a river."
        if other.template.begun is None and other.template.render(one) == off.template.render(one):
            raise TemplateError(
                f"{self.name}: its chat template has no switch for thinking (enable_thinking); a response prefix can open a think block"
            )
        return other

    @cached_property
    def at_once(self) -> ChatModel:
        """This model where it would answer without a thought: with thinking on, prompts end with an empty think block; else itself.

        There its refusal score and KL are taken: where it opens its block, all answers begin alike.
        """
        if self.thinking.mode != "on":
            return self
        block = empty_block(self.tokenizer, self.template.tail)
        return self._with(self.response_prefix + block, True, Thinking())

    def _with(self, prefix: str, switch: bool, thinking: Thinking) -> ChatModel:
        other = copy.copy(self)
        other.__dict__.pop("at_once", None)
        other.template = make_template(self.tokenizer, self.name, None, self.template.system, prefix, switch)
        other.template_length, other.thinking = other.template.length, thinking
        return other

    def for_direction(self, direction: HasResponsePrefix) -> ChatModel:
        """This model with the response prefix with which a direction was found: its position counts from the prefix's end.

        A direction that was found with the model thinking, or not, where this one does otherwise, is told of in one line.

        Raises:
            DirectionError: if the model was given another prefix.
        """
        if self.response_prefix and direction.response_prefix != self.response_prefix:
            raise DirectionError(
                f"direction found with the response prefix {direction.response_prefix!r}: got {self.response_prefix!r} with "
                f"{'--thinking skip' if self.thinking.mode == 'skip' else '--response-prefix'}; leave that out"
            )
        return self.with_response_prefix(direction.response_prefix).tell_thinking(direction)

    def tell_thinking(self, direction: HasResponsePrefix) -> ChatModel:
        """This model; one warning if a direction was found with the model thinking in another way, so that its prompts end otherwise."""
        found, used = direction.thinking, self.thinking.mode
        alike = "on" not in (found, used) and direction.response_prefix == self.response_prefix
        said = (
            f"{self.name}: the direction was found with --thinking {found} and is used with --thinking {used}, so prompts end "
            f"otherwise than where it was found; give --thinking {found}, or find it again"
        )
        if found != used and not alike and said not in self.told:
            self.told.add(said)
            log.warning("%s", said)
        return self

    def plan(
        self,
        prompts: Sequence[ChatPrompt],
        *,
        max_tokens: int | None = None,
        max_rows: int | None = None,
        share_prefix: bool = True,
    ) -> Plan:
        """The prompts tokenised and laid out in batches for the fast path, within `room` unless told otherwise."""
        return self.lay_out(self.tokenize(prompts), max_tokens=max_tokens, max_rows=max_rows, share_prefix=share_prefix)

    def generate(
        self,
        prompts: Sequence[ChatPrompt],
        max_new_tokens: int = 128,
        *,
        intervention: AnyIntervention | None = None,
        system: str | None = None,
        sampling: Sampling | None = None,
        until: Callable[[str], bool] | None = None,
    ) -> list[Completion]:
        """Answers to instructions or conversations, in their order, under `intervention` and those that are on.

        Greedy unless `sampling` says otherwise; prompt number i then has the seed `sampling.seed + i`. `system` is put before
        prompts that have no system message. `until(text)` stops a row as soon as it returns True of the text so far.

        Raises:
            PromptError: if there are no prompts, or fewer than one token is asked for.
        """
        if system is not None:
            prompts = [with_system(prompt, system) for prompt in prompts]
        answers: list[Completion] = shorthand("generate")(
            self, prompts, intervention, max_new_tokens=max_new_tokens, until=until, sampling=sampling
        )
        return answers

    def __repr__(self) -> str:
        return (
            f"ChatModel({self.name!r}, {type(self.hf).__name__}, {self.n_layers} layers of {self.d_model}, "
            f"{str(self.dtype).removeprefix('torch.')}, on {self.device})"
        )

    def describe(self) -> dict[str, Any]:
        """What results.json says of the model."""
        described: dict[str, Any] = {
            "name": self.name,
            "revision_or_sha256": self.identity,
            "architecture": type(self.hf).__name__,
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            "dtype": str(self.dtype).removeprefix("torch."),
            "weight_format": self.weight_format,
        }
        more = {"weights": self.weights, "response_prefix": self.response_prefix}
        return described | {name: value for name, value in more.items() if value} | self.thinking.describe()
