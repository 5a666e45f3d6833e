"""What a GGUF file says about tokens and transformers passes over: how text is split, and which tokens end an answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Regex, decoders, pre_tokenizers

from rhat.errors import ModelError
from rhat.model.gguf_keys import SPLITS

log = logging.getLogger(__name__)

PROBES = ("Hello world", " two  spaces", "It's 12345, isn't it?\n\nnaïve 語 ")


def stop_tokens(whole: Mapping[str, Any]) -> list[int]:
    """The tokens that end an answer: of the sequence, of the turn, of the message."""
    ids = [whole.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    return list(dict.fromkeys(int(i) for i in ids if i is not None))


def split_as_said(tokenizer: Any, whole: Mapping[str, Any], gguf: Path) -> None:
    """Make a tokenizer, in place, split text before its merges as the file says.

    Raises:
        ModelError: if rhat does not know that way.
    """
    kind = whole.get("tokenizer.ggml.model")
    if kind == "gpt2":
        _split_bytes(tokenizer.backend_tokenizer, whole.get("tokenizer.ggml.pre"), gguf)
    elif kind == "llama" and whole.get("tokenizer.ggml.pre", "default") == "default":
        _prefix(tokenizer.backend_tokenizer, whole.get("tokenizer.ggml.add_space_prefix"), gguf)
    else:
        raise ModelError(
            f"{gguf}: tokenizer.ggml.model = {kind!r}: expected gpt2 or llama; give the model as safetensors"
        )


def _split_bytes(backend: Any, name: str | None, gguf: Path) -> None:
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    if name is None or name == "default":
        log.warning("%s: tokenizer.ggml.pre does not say how text is split; split as for GPT-2", gguf)
    elif name in SPLITS:
        steps = [pre_tokenizers.Split(Regex(step), behavior="isolated") for step in SPLITS[name]]
        bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=len(steps) < 2)
        backend.pre_tokenizer = pre_tokenizers.Sequence([*steps, bytes_])
    elif name not in GGUF_PRE_TOKENIZER_SPLITS:
        raise ModelError(
            f"{gguf}: tokenizer.ggml.pre = {name!r}: rhat does not know how this splits text; give the model as safetensors"
        )


def _prefix(backend: Any, wanted: bool | None, gguf: Path) -> None:
    """Whether text begins with a space that it does not have."""
    if wanted is None:
        return
    start = "\u2581"
    whole = backend.pre_tokenizer.pre_tokenize_str(_normalised(backend, "a")) if backend.pre_tokenizer else None
    begins = (whole[0][0] if whole else _normalised(backend, "a")).startswith(start)
    if begins == bool(wanted):
        return
    if wanted or not isinstance(backend.pre_tokenizer, pre_tokenizers.Metaspace):
        raise ModelError(
            f"{gguf}: tokenizer.ggml.add_space_prefix = {wanted}: this tokenizer of transformers can not do it; "
            "give the model as safetensors"
        )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=start, prepend_scheme="never", split=False)
    backend.decoder = decoders.Sequence([decoders.Replace(start, " "), decoders.ByteFallback(), decoders.Fuse()])


def _normalised(backend: Any, text: str) -> str:
    return backend.normalizer.normalize_str(text) if backend.normalizer else text


def save_tokenizer(tokenizer: Any, folder: Path, gguf: Path) -> None:
    """Save a tokenizer so that it is opened again as it is.

    Some classes of transformers (GPT2Tokenizer, LlamaTokenizer, GemmaTokenizer) build their own split when they are
    opened, whatever was saved; then the class that keeps to the saved one is named in its place.

    Raises:
        ModelError: if it would still be another.
    """
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(folder)
    whole, said = tokenizer.backend_tokenizer.to_str(), _manner(tokenizer)
    for name in (None, "PreTrainedTokenizerFast"):
        if name is not None:
            path = folder / "tokenizer_config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": name}, indent=2))
            (folder / "tokenizer.json").write_text(whole)
        try:
            if _manner(AutoTokenizer.from_pretrained(folder, local_files_only=True)) == said:
                return
        except Exception as error:
            log.debug("%s: its tokenizer cannot be opened as saved (%s)", gguf, error)
    raise ModelError(f"{gguf}: transformers opens its tokenizer as another; give the model as safetensors")


def _manner(tokenizer: Any) -> tuple[Any, ...]:
    """How a tokenizer splits, and what it makes of a few texts."""
    saved = json.loads(tokenizer.backend_tokenizer.to_str())
    return saved["pre_tokenizer"], [tokenizer(text)["input_ids"] for text in PROBES]
