"""Hub id, folder, GGUF file or catalogue name → ChatModel."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rhat.model import proofs
from rhat.model.allocator import keep_freed_memory
from rhat.model.attention import check_suited, configs_of, stand_in, suited
from rhat.model.catalogue import DEFAULT, Progress
from rhat.model.chat import ChatModel
from rhat.model.decoder import end_tokens
from rhat.model.discovery import discover
from rhat.model.hub import check_there
from rhat.model.layout import Layout
from rhat.model.opening import opened, with_adapter
from rhat.model.placement import bytes_of, kind_of, place, resident_memory
from rhat.model.precision import resolve_dtype
from rhat.model.source import Source, cached_commit, locate
from rhat.model.template import make_template
from rhat.model.thinking import Thinking
from rhat.model.weightfiles import adapter_identity
from rhat.vocabulary.thinking import THINKING_TOKENS

log = logging.getLogger(__name__)


def load(
    name: str | Path | tuple[Any, Any] = DEFAULT,
    dtype: str | torch.dtype = "auto",
    *,
    revision: str | None = None,
    offline: bool = False,
    chat_template: str | Path | None = None,
    system: str | None = None,
    trust_remote_code: bool = False,
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
    max_memory: str | int | dict[int | str, Any] | None = None,
    offload_folder: str | Path | None = None,
    adapter: str | Path | None = None,
    response_prefix: str = "",
    thinking: str = "off",
    thinking_tokens: int = THINKING_TOKENS,
    progress: Progress | None = None,
) -> ChatModel:
    """Load a chat model by catalogue name, hub id, folder, `.gguf` file, or from an already loaded (model, tokenizer).

    Local paths and models in the cache make no network call. `system` sets a system prompt; without it the template's
    own default stands. `device="auto"` spreads the model over all GPUs, or takes Apple's MPS; `device_map` and `offload_folder` are
    accelerate's. `max_memory`, bytes or a text such as "8GB", bounds main memory: what does not fit is read from disk
    each time that it is run (a mapping from device to memory is passed to accelerate unchanged). `adapter` is a
    PEFT adapter (folder or hub id) put on top. `response_prefix` is put after the template: every answer begins with it.
    `thinking` is off, on or skip, and a think block has at most `thinking_tokens` tokens; see `ChatModel.with_thinking`.

    Raises:
        ModelError: if the model cannot be found, downloaded or understood.
        TemplateError: if it has no usable chat template.
    """
    wanted = Thinking(thinking, thinking_tokens)
    if isinstance(name, tuple):
        return _loaded(*name, chat_template, system, wanted, response_prefix)
    name = str(name)
    torch_dtype = resolve_dtype(dtype, kind_of(device))
    if max_memory is not None and not isinstance(max_memory, dict):
        bytes_of(max_memory)  # a wrong amount is told before anything is downloaded
    source = locate(name, revision, offline, progress)
    files = _Files(name, source, revision, offline, trust_remote_code)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    before = resident_memory()
    tokenizer = files.open(AutoTokenizer.from_pretrained)
    placement = place(device, device_map, max_memory, offload_folder, resident_memory() - before)
    hf = files.open(partial(AutoModelForCausalLM.from_pretrained, dtype=torch_dtype, **placement.arguments)).eval()
    identity, weight_format = files.identity(), source.weight_format
    quantised = getattr(getattr(hf.config, "quantization_config", None), "quant_method", None)
    if quantised is not None:
        weight_format += f", quantised ({getattr(quantised, 'value', quantised)})"
    if adapter is not None:
        hf = with_adapter(hf, adapter)
        weight_format += f", with the adapter {Path(adapter).name}"
        identity = hashlib.sha256(f"{identity} {adapter_identity(adapter)}".encode()).hexdigest()
    if not placement.arguments:
        hf.to(torch.device(kind_of(device) if device in (None, "auto") else device))
    return _wrap(
        hf, tokenizer, name, identity, weight_format, chat_template, system, wanted, placement.limit, response_prefix
    )


def _loaded(
    hf: Any, tokenizer: Any, chat_template: str | Path | None, system: str | None, thinking: Thinking, prefix: str
) -> ChatModel:
    """A model that was loaded elsewhere."""
    hf.eval()
    title = getattr(hf.config, "_name_or_path", "") or type(hf).__name__
    return _wrap(hf, tokenizer, title, "in memory", "as loaded", chat_template, system, thinking, prefix=prefix)


class _Files:
    """The files of a source, as transformers opens them: of a hub model that is in the cache, without a network call."""

    def __init__(self, name: str, source: Source, revision: str | None, offline: bool, trust_remote_code: bool) -> None:
        self.name, self.source, self.revision = name, source, revision
        self.arguments: dict[str, Any] = {"trust_remote_code": trust_remote_code}
        self.again = False  # whether to ask the hub for a file that the cache turns out to lack
        if source.on_hub:
            cached = cached_commit(name, revision) is not None
            self.arguments |= {"revision": revision, "local_files_only": offline or cached}
            self.again = cached and not offline
            if not self.arguments["local_files_only"]:
                check_there(name, revision)

    def open(self, from_pretrained: Callable[..., Any]) -> Any:
        return opened(self.name, partial(from_pretrained, self.source.place), self.arguments, self.again)

    def identity(self) -> str:
        """What pins the weights that were opened: of a hub model the commit, which is known once they are in the cache."""
        if not self.source.on_hub:
            return self.source.identity
        return cached_commit(self.name, self.revision) or self.revision or "main"


def _wrap(
    hf: Any,
    tokenizer: Any,
    name: str,
    identity: str,
    weight_format: str,
    chat_template: str | Path | None,
    system: str | None,
    thinking: Thinking,
    memory: int | None = None,
    prefix: str = "",
) -> ChatModel:
    template = make_template(tokenizer, name, chat_template, system, prefix)
    for parameter in hf.parameters():
        parameter.requires_grad_(False)
    if memory is None:
        keep_freed_memory()
    check_suited(hf)
    with suited(configs_of(hf), stand_in(hf)):
        layout = _layout(hf, identity)
    if layout.limits:
        log.warning("%s: %s; `rhat check` says why", name, layout.limits)
    eos_ids = end_tokens(hf, tokenizer)
    pad = tokenizer.pad_token_id
    model = ChatModel(
        hf=hf,
        layout=layout,
        name=name,
        template_length=template.length,
        eos_ids=eos_ids,
        pad_id=pad if pad is not None else min(eos_ids, default=0),
        memory=memory,
        tokenizer=tokenizer,
        template=template,
        identity=identity,
        weight_format=weight_format,
        thinking=Thinking(tokens=thinking.tokens),
    )
    return model if thinking.mode == "off" else model.with_thinking(thinking.mode)


def _layout(hf: Any, identity: str) -> Layout:
    """The layout, proved by a run of these very weights, now or before."""
    made: list[Layout] = []

    def prove() -> dict[str, Any]:
        made.append(discover(hf))
        return proofs.as_values(made[0])

    held = proofs.proved(proofs.key_of(hf, identity, "layout"), prove)
    try:
        return made[0] if made else proofs.from_values(hf, held)
    except (AttributeError, KeyError, TypeError, ValueError):
        log.warning("%s: what was kept of its layout does not fit; it is found again", type(hf).__name__)
        return discover(hf)
