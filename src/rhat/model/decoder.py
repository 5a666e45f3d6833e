"""Decoder: a transformers model with its proved layout, and how it is run: all that a forward pass needs to know."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from rhat.model.attention import configs_of, stand_in, suited
from rhat.model.kv import MaskForm
from rhat.model.layout import Layout, text_config
from rhat.model.packing import tokenwise_mlps
from rhat.model.plans import Plan, TokenIds, plan
from rhat.model.positions import TokenContext
from rhat.model.rotation import Rotation, rotation, turned
from rhat.model.tap import whole_prompts


def slow() -> bool:
    """Whether the user asked for the plain path (RHAT_SLOW=1)."""
    return os.environ.get("RHAT_SLOW", "") not in ("", "0")


@dataclass(frozen=True)
class Execution:
    """How a decoder is run.

    mask              the form in which it takes our attention mask; None: it must be run by the plain path
    reason            why it must
    supports_padding  whether the plain path may pad prompts on the left; tried only where it is needed
    """

    mask: MaskForm | None
    reason: str = ""
    supports_padding: bool = True


def end_tokens(hf: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer, by the generation configuration, the text decoder's, and the tokenizer."""
    found: set[int] = set()
    for config in (getattr(hf, "generation_config", None), text_config(hf)):
        value = getattr(config, "eos_token_id", None)
        found |= set(value) if isinstance(value, (list, tuple)) else ({value} if value is not None else set())
    if tokenizer.eos_token_id is not None:
        found.add(tokenizer.eos_token_id)
    return frozenset(found)


def arguments_of(module: torch.nn.Module) -> frozenset[str] | None:
    """The names that a module's forward takes; None if it takes any."""
    parameters = inspect.signature(module.forward).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return None
    return frozenset(parameters)


@dataclass(eq=False, repr=False, kw_only=True)
class Decoder:
    """What every pass runs. It knows token ids; words are `ChatModel`'s.

    hf               the transformers model; code that calls it sees interventions that are on
    name             what messages call it
    template_length  template tokens after the instruction; positions −template_length … −1
    eos_ids          tokens that end an answer
    pad_id           a token for padding; it is always masked
    memory           bytes of main memory that it was asked to stay under; None: as much as it takes
    way              how it is run, whatever `execution` would find; None leaves that to `execution`
    """

    hf: Any
    layout: Layout
    name: str
    template_length: int
    eos_ids: frozenset[int]
    pad_id: int
    memory: int | None = None
    way: Execution | None = None

    @property
    def execution(self) -> Execution:
        """How it is run: `way`, or else the plain path, since nothing was tried."""
        return self.way or Execution(None, "no fast path was tried")

    @property
    def fast(self) -> bool:
        """Whether the fast path is taken, unless RHAT_SLOW=1 asks for the plain one."""
        return self.execution.mask is not None

    @property
    def supports_padding(self) -> bool:
        """Whether the plain path may pad prompts on the left: models with recurrent state may not take it."""
        return self.execution.supports_padding

    @property
    def mask_form(self) -> MaskForm:
        """The form in which it takes our attention masks."""
        return self.execution.mask or "4d"

    @cached_property
    def text_config(self) -> Any:
        """Configuration of the text decoder."""
        return text_config(self.hf)

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
        dtype: torch.dtype = self.hf.dtype
        return dtype

    @cached_property
    def device(self) -> torch.device:
        """Where token ids go: the embedding's device."""
        embedding = self.hf.get_input_embeddings()
        device = getattr(getattr(embedding, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
        found: torch.device = embedding.weight.device
        return torch.device("cpu") if found.type == "meta" else found

    @cached_property
    def decoder_arguments(self) -> frozenset[str] | None:
        """The names that the decoder's forward takes; None if it takes any."""
        return arguments_of(self.layout.base)

    @cached_property
    def model_arguments(self) -> frozenset[str] | None:
        """The names that the whole model's forward takes; None if it takes any."""
        return arguments_of(self.hf)

    @cached_property
    def _attention(self) -> tuple[tuple[Any, ...], str]:
        """The configurations that name an implementation of attention, and what stands in for one that does not suit."""
        return configs_of(self.hf), stand_in(self.hf)

    @contextmanager
    def running(self, context: TokenContext | None) -> Iterator[None]:
        """The context in which rhat runs a forward pass: attention accepts its masks, and each token is rotated for the length
        of its own row."""
        with suited(*self._attention), turned(self.rotation, context):
            yield

    @cached_property
    def rotation(self) -> Rotation:
        """How rotary positions depend on the length of the sequence."""
        return rotation(self.hf, self.layout, self.dtype, self.device)

    @cached_property
    def tokenwise_mlps(self) -> tuple[Any, ...]:
        """The MLPs that may be given the real tokens of a padded batch alone."""
        return tokenwise_mlps(self.layout)

    @cached_property
    def last_mlps(self) -> tuple[Any, ...]:
        """Those of them that are in the last block."""
        inside = set(self.layout.parts[-1].block.children())
        return tuple(mlp for mlp in self.tokenwise_mlps if mlp in inside)

    @cached_property
    def room(self) -> dict[str, int]:
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
