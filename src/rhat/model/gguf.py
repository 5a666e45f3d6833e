"""A GGUF file → a folder of dequantised weights, with the configuration that the file states.

Transformers reads the weights and part of the metadata. What it passes over is restored (gguf_config.py, gguf_rope.py and
gguf_tokens.py), and what can not be restored is rejected by its name: a file never loads as another model than it holds.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from rhat.errors import ModelError
from rhat.model.catalogue import CONVERTER, MARKER, Progress
from rhat.model.gguf_config import Metadata, read_metadata, restore
from rhat.model.gguf_tokens import save_tokenizer, split_as_said, stop_tokens
from rhat.model.quiet import quiet_conversion


def check_tensors(config: Any, meta: Metadata, gguf: Path) -> None:
    """Whether each tensor of the file has a parameter that takes it.

    Raises:
        ModelError: if one has none: transformers would pass over it without a word.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map
    from transformers import AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    processor_of: Any = TENSOR_PROCESSORS.get(meta.architecture, TensorProcessor)
    processor = processor_of(config=config.to_dict())
    kind = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == meta.architecture)
    names = get_tensor_name_map(kind, config.num_hidden_layers)
    taken: dict[str, str] = {"output.weight": "lm_head.weight"}
    for full in model.state_dict():
        # as transformers does, with the names of the whole model and of the one inside it
        for name in map(processor.preprocess_name, (full, full.removeprefix(f"{model.base_model_prefix}."))):
            stem, dot, end = name.rpartition(".")
            if end not in ("weight", "bias"):
                stem, dot, end = name, "", ""
            known = names.get_name(stem)
            if known is not None:
                taken[f"{known}{dot}{end}"] = full
            else:
                processor.perform_fallback_tensor_mapping(taken, dot + end, "", name)
    left = sorted(n for n in meta.tensors - set(meta.rope) if n not in taken and n.removesuffix(".weight") not in taken)
    if left:
        raise ModelError(
            f"{gguf}: {len(left)} tensors have no place in transformers' {meta.architecture}: "
            f"{', '.join(left[:3])}{'…' if len(left) > 3 else ''}; give the model as safetensors"
        )


def convert(gguf: Path, folder: Path, sha256: str, progress: Progress | None = None) -> None:
    """Dequantise a GGUF file once into a folder of bfloat16 safetensors; all of it appears, or nothing.

    Raises:
        ModelError: if the file is damaged, if it says something that transformers can not compute, or if there is no
            room.
    """
    if progress:
        progress("dequantising", 0, 1)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".convert-"))
    except OSError as error:
        raise ModelError(
            f"{folder}: cannot store the model ({error.strerror}); free space or set RHAT_CACHE"
        ) from error
    try:
        with quiet_conversion():
            _write(gguf, temporary)
        marker = {"source": gguf.name, "sha256": sha256, "converter": CONVERTER}
        (temporary / MARKER).write_text(json.dumps(marker))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(
            f"{gguf}: cannot be converted ({error.strerror or error}); "
            "if the disk is full free space or set RHAT_CACHE, else the file is damaged"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{gguf}: not a GGUF file that transformers can read ({reason}); give another file") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if progress:
        progress("dequantising", 1, 1)


def _write(gguf: Path, folder: Path) -> None:
    """The model and tokenizer of a file, saved into a folder."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {}
    try:
        from transformers import GgufConfig  # transformers with packed GGUF weights: ask for dense ones

        options["quantization_config"] = GgufConfig(dequantize=True)
    except ImportError:
        pass
    meta = read_metadata(gguf)
    place: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    config = AutoConfig.from_pretrained(str(gguf.parent), **place)
    restore(config, meta, gguf)
    check_tensors(config, meta, gguf)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        config=config,
        dtype=torch.bfloat16,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are named below
        **place,
        **options,
    )
    hf, report = loaded
    wrong = sorted({*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])})
    if wrong:
        raise ModelError(
            f"{gguf}: {len(wrong)} parameters of transformers' {meta.architecture} are not in the file, or of another "
            f"shape: {', '.join(wrong[:3])}{'…' if len(wrong) > 3 else ''}; give the model as safetensors"
        )
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **place)
    split_as_said(tokenizer, meta.whole, gguf)
    stops = stop_tokens(meta.whole)
    if len(stops) > 1:
        hf.generation_config.eos_token_id = stops
    if hasattr(hf.config, "quantization_config"):
        del hf.config.quantization_config
    hf.save_pretrained(folder)
    save_tokenizer(tokenizer, folder, gguf)
