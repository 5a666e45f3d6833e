"""ChatModel: a Hugging Face decoder with its tokenizer, template and proved layout."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch

from rhat.errors import DirectionError, PromptError
from rhat.model.attention import configs_of, stand_in, suited
from rhat.model.forward import decoder_arguments
from rhat.model.identity import hash_of_weights
from rhat.model.kv import MaskForm
from rhat.model.layout import Layout, text_config
from rhat.model.packing import positionwise
from rhat.model.plans import Plan, TokenIds, plan
from rhat.model.positions import TokenContext
from rhat.model.rotation import Rotation, rotation, turned
from rhat.model.tap import whole_prompts
from rhat.model.template import ChatPrompt, Template, make_template
from rhat.model.trial import FastPath, try_fast_path

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from rhat.directions import Direction
    from rhat.generation import Completion, Sampling
    from rhat.model.protocol import AnyIntervention


def checked(prompt: ChatPrompt, number: int) -> ChatPrompt:
    """An instruction or a conversation as it is.

    Raises:
        PromptError: if it is neither, with its number.
    """
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, Sequence) or not prompt or not all(isinstance(m, Mapping) for m in prompt):
        raise PromptError(
            f"prompt {number}: got {type(prompt).__name__}, expected a string or a list of "
            '{"role": …, "content": …} messages'
        )
    messages = cast(Sequence[Mapping[str, str]], prompt)
    for message in messages:
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
            raise PromptError(
                f"prompt {number}: got a message with {sorted(message)}, expected a role and a text content"
            )
    if messages[-1]["role"] == "assistant":
        raise PromptError(f"prompt {number}: its last message is the assistant's; end with the turn to be answered")
    return prompt


def _is_tokens(prompt: object) -> bool:
    return isinstance(prompt, Sequence) and not isinstance(prompt, str) and all(isinstance(t, int) for t in prompt)


def _with_system(prompt: ChatPrompt, system: str) -> ChatPrompt:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if messages and messages[0].get("role") in ("system", "developer"):
        return messages
    return [{"role": "system", "content": system}, *messages]


@dataclass(eq=False, repr=False)
class ChatModel:
    """A chat model that rhat can read, edit and let speak.

    hf             the transformers model; code that calls it sees interventions that are on
    identity       hub revision or SHA-256 of the weights
    weight_format  how the weights were stored
    memory         bytes of main memory that it was asked to stay under; None: as much as it takes
    """

    hf: Any
    tokenizer: Any
    name: str
    identity: str
    weight_format: str
    layout: Layout
    template: Template
    memory: int | None = None

    @cached_property
    def text_config(self) -> Any:
        """Configuration of the text decoder."""
        return text_config(self.hf)

    @cached_property
    def weights(self) -> str | None:
        """Hash of the weights, the same however they were loaded; None where they cannot be read (quantised, on disk)."""
        return hash_of_weights(self.hf)

    @property
    def n_layers(self) -> int:
        """Number of blocks; layers count from 0 to n_layers − 1."""
        return self.layout.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.layout.d_model

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the residual stream."""
        return self.hf.dtype

    @cached_property
    def device(self) -> torch.device:
        """Where token ids go: the embedding's device."""
        weight = self.hf.get_input_embeddings().weight
        device = getattr(getattr(self.hf.get_input_embeddings(), "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
        return torch.device("cpu") if weight.device.type == "meta" else weight.device

    @property
    def template_length(self) -> int:
        """Template tokens after the instruction; positions −template_length … −1."""
        return self.template.length

    @cached_property
    def pad_id(self) -> int:
        """A token for padding; it is always masked."""
        pad = self.tokenizer.pad_token_id
        return pad if pad is not None else min(self.eos_ids, default=0)

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        found: set[int] = set()
        for config in (getattr(self.hf, "generation_config", None), self.text_config):
            value = getattr(config, "eos_token_id", None)
            found |= set(value) if isinstance(value, (list, tuple)) else ({value} if value is not None else set())
        if self.tokenizer.eos_token_id is not None:
            found.add(self.tokenizer.eos_token_id)
        return frozenset(found)

    @cached_property
    def decoder_arguments(self) -> frozenset[str] | None:
        """The names that the decoder's forward takes; None if it takes any."""
        return decoder_arguments(self.layout.base)

    @cached_property
    def _attention(self) -> tuple[tuple[Any, ...], str]:
        """The configurations that name an implementation of attention, and what stands in for one that does not suit."""
        return configs_of(self.hf), stand_in(self.hf)

    @contextmanager
    def running(self, context: TokenContext | None) -> Iterator[None]:
        """What every forward pass of rhat's own is run inside: attention that takes its masks, and each token turned for
        the length of its own row."""
        with suited(*self._attention), turned(self.rotation, context):
            yield

    @cached_property
    def rotation(self) -> Rotation:
        """How rotary positions depend on the length of the sequence."""
        return rotation(self)

    @property
    def fast_path(self) -> FastPath:
        """Whether the fast path gives what the plain one gives on this model, and how: tried once, on two prompts, and
        again under another implementation of attention."""
        with suited(*self._attention):
            attention = self.text_config._attn_implementation
            if attention not in self._tried:
                prompts = self.tokenize(["Name a river.", "Why is the sky blue at noon and red in the evening?"])
                found = self._tried[attention] = try_fast_path(self, prompts, token=prompts[0][0])
                if found.mask is None:
                    log.info("%s: run by the plain path, the fast one does not suit it (%s)", self.name, found.reason)
            return self._tried[attention]

    @cached_property
    def _tried(self) -> dict[str | None, FastPath]:
        return {}

    @property
    def fast(self) -> bool:
        """Whether the fast path is taken."""
        return self.fast_path.mask is not None

    @property
    def pads(self) -> bool:
        """Whether the plain path may pad prompts on the left: models with recurrent state may not take it."""
        return self.fast_path.pads

    @property
    def mask_form(self) -> MaskForm:
        """The form in which the decoder takes our attention masks."""
        return self.fast_path.mask or "pairs"

    @cached_property
    def positionwise(self) -> tuple[Any, ...]:
        """The MLPs that may be given the real tokens of a padded batch alone."""
        return positionwise(self.layout)

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
        if not isinstance(prompts, str) and all(_is_tokens(prompt) for prompt in prompts):
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
        other = copy.copy(self)
        other.template = make_template(self.tokenizer, self.name, None, self.template.system, prefix)
        return other

    def for_direction(self, direction: Direction) -> ChatModel:
        """This model with the response prefix with which a direction was found: its position counts from the prefix's end.

        Raises:
            DirectionError: if the model was given another prefix.
        """
        if self.response_prefix and direction.response_prefix != self.response_prefix:
            raise DirectionError(
                f"direction found with the response prefix {direction.response_prefix!r}: got {self.response_prefix!r} with "
                f"--response-prefix; leave that out"
            )
        return self.with_response_prefix(direction.response_prefix)

    @cached_property
    def room(self) -> dict[str, Any]:
        """How large one pass may be, as `plan` takes it: 2048 tokens in 64 rows, fewer where main memory is limited.

        A quarter of the limit is for the activations inside one block, an eighth for logits; weights take half.
        """
        tokens, rows = 2048, 64
        if self.memory is not None:
            config = self.text_config
            wide = max(getattr(config, name, None) or 0 for name in ("intermediate_size", "ffn_dim", "n_inner"))
            a_token = self.dtype.itemsize * (12 * self.d_model + 4 * (wide or 4 * self.d_model))
            a_row = config.vocab_size * 24  # in the model's dtype, and a few times in float64
            tokens = max(64, min(tokens, self.memory // 4 // a_token))
            rows = max(1, min(rows, self.memory // 8 // a_row))
        return {"max_tokens": tokens, "max_rows": rows}

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

    def lay_out(
        self,
        prompts: Sequence[TokenIds],
        template_length: int | None = None,
        *,
        max_tokens: int | None = None,
        max_rows: int | None = None,
        share_prefix: bool = True,
    ) -> Plan:
        """Tokenised prompts in batches for the fast path. They share no prefix where their lengths turn it differently."""
        return plan(
            prompts,
            self.template_length if template_length is None else template_length,
            device=self.device,
            max_tokens=max_tokens or self.room["max_tokens"],
            max_rows=max_rows or self.room["max_rows"],
            share_prefix=share_prefix and not whole_prompts(self.hf) and self.rotation.alike([len(p) for p in prompts]),
        )

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
        from rhat.generation import generate

        if system is not None:
            prompts = [_with_system(prompt, system) for prompt in prompts]
        return generate(self, prompts, intervention, max_new_tokens=max_new_tokens, until=until, sampling=sampling)

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
        return described | {name: value for name, value in more.items() if value}
