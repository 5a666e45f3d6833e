"""Hub id, folder, GGUF file or catalogue name → ChatModel."""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rhat.errors import ModelError
from rhat.model.allocator import keep_freed_memory
from rhat.model.attention import check_suited, configs_of, stand_in, suited
from rhat.model.catalogue import CATALOGUE, DEFAULT, Progress, cache_folder, download, is_converted, sha256_of
from rhat.model.chat import ChatModel
from rhat.model.decoder import end_tokens
from rhat.model.discovery import discover
from rhat.model.gguf import convert
from rhat.model.hub import check_there
from rhat.model.quiet import quiet
from rhat.model.template import make_template

log = logging.getLogger(__name__)

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def native_bfloat16() -> bool:
    """Whether the processor or GPU multiplies bfloat16 matrices natively."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = (getattr(torch.cpu, "_is_avx512_bf16_supported", None), getattr(torch.cpu, "_is_amx_tile_supported", None))
    return any(probe() for probe in probes if probe is not None)


def resolve_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The torch dtype of a name; "auto" is bfloat16 where that is native, else float32.

    Raises:
        ModelError: if there is no such name.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        return torch.bfloat16 if native_bfloat16() else torch.float32
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r}: expected auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


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
    progress: Progress | None = None,
) -> ChatModel:
    """Load a chat model by catalogue name, hub id, folder, `.gguf` file, or from an already loaded (model, tokenizer).

    Local paths and models in the cache make no network call. `system` sets a system prompt; without it the template's
    own default stands. `device="auto"` spreads the model over all devices; `device_map` and `offload_folder` are
    accelerate's. `max_memory`, bytes or a text such as "8GB", bounds main memory: what does not fit is read from disk
    each time that it is run (a mapping from device to memory is accelerate's, and is taken as it is). `adapter` is a
    PEFT adapter (folder or hub id) put on top. `response_prefix` is put after the template: every answer begins with it.

    Raises:
        ModelError: if the model cannot be found, downloaded or understood.
        TemplateError: if it has no usable chat template.
    """
    if isinstance(name, tuple):
        hf, tokenizer = name
        hf.eval()
        title = getattr(hf.config, "_name_or_path", "") or type(hf).__name__
        return _wrap(hf, tokenizer, title, "in memory", "as loaded", chat_template, system, prefix=response_prefix)
    name = str(name)
    torch_dtype = resolve_dtype(dtype)
    folder, identity, weight_format = _resolve(name, revision, offline, progress)
    arguments: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    on_hub = not Path(folder).is_dir()
    if on_hub:
        arguments |= {"revision": revision, "local_files_only": offline or _commit(name, revision) is not None}
        if not arguments["local_files_only"]:
            check_there(name, revision)
    if device == "auto":
        device_map = device_map or "auto"
    limit = None if max_memory is None or isinstance(max_memory, dict) else bytes_of(max_memory)
    again = on_hub and not offline and arguments["local_files_only"]
    from transformers import AutoModelForCausalLM, AutoTokenizer

    before = _resident()
    tokenizer = _opened(name, partial(AutoTokenizer.from_pretrained, folder), arguments, again)
    if limit is not None:  # a tokenizer may take a few hundred megabytes itself
        limit = max(limit - max(_resident() - before, 0), 2)
    placement: dict[str, Any] = {}
    if device_map is not None or max_memory is not None:
        room = max_memory if limit is None else weights_within(limit, device)
        placement = {"device_map": device_map or "auto", "max_memory": room, "offload_folder": offload_folder}
    if limit is not None and offload_folder is None:
        placement["offload_folder"] = _scratch()
    open_model = partial(AutoModelForCausalLM.from_pretrained, folder, dtype=torch_dtype, **placement)
    hf = _opened(name, open_model, arguments, again).eval()
    quantised = getattr(getattr(hf.config, "quantization_config", None), "quant_method", None)
    if quantised is not None:
        weight_format += f", quantised ({getattr(quantised, 'value', quantised)})"
    if adapter is not None:
        hf = _with_adapter(hf, adapter)
        weight_format += f", with the adapter {Path(adapter).name}"
    if not placement:
        hf.to(torch.device(device) if device is not None else ("cuda" if torch.cuda.is_available() else "cpu"))
    if on_hub:
        identity = _commit(name, revision) or revision or "main"
    if adapter is not None:
        identity = hashlib.sha256(f"{identity} {_adapter_identity(adapter)}".encode()).hexdigest()
    return _wrap(hf, tokenizer, name, identity, weight_format, chat_template, system, limit, response_prefix)


def _wrap(
    hf: Any,
    tokenizer: Any,
    name: str,
    identity: str,
    weight_format: str,
    chat_template: str | Path | None,
    system: str | None,
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
        layout = discover(hf)
    if layout.limits:
        log.warning("%s: %s; `rhat check` says why", name, layout.limits)
    eos_ids = end_tokens(hf, tokenizer)
    pad = tokenizer.pad_token_id
    return ChatModel(
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
    )


UNITS = {"": 1, **{p + i: k**n for n, p in enumerate("KMGT", 1) for i, k in (("", 1000), ("I", 1024))}}


def bytes_of(memory: str | int) -> int:
    """Bytes of a text such as "8GB", "512MiB" or "1.5 GB".

    Raises:
        ModelError: if it is none, or nothing.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([A-Z]*?)B?\s*", str(memory).upper())
    size = int(float(found[1]) * UNITS[found[2]]) if found and found[2] in UNITS else 0
    if size < 1:
        raise ModelError(f"memory {memory!r}: expected a number and a unit, such as 8GB or 512MiB")
    return size


def weights_within(limit: int, device: str | torch.device | None = None) -> dict[int | str, int]:
    """How many bytes of weights each device may hold for good, where main memory is limited: half of it, for the rest is
    needed to work. GPUs are filled first, unless `device` is the CPU."""
    from accelerate.utils import get_max_memory

    room: dict[int | str, int] = {"cpu": limit // 2}
    if device is None or torch.device("cuda" if device == "auto" else device).type != "cpu":
        room = {key: free for key, free in get_max_memory().items() if key != "cpu"} | room
    return room


def _scratch() -> str:
    """A folder for weights that must be written again to be read piecemeal; gone when the process ends."""
    folder = tempfile.mkdtemp(prefix="rhat-offload-", dir=_made(cache_folder()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be made ({error.strerror}); set RHAT_CACHE") from error
    return folder


def _resolve(name: str, revision: str | None, offline: bool, progress: Progress | None) -> tuple[str, str, str]:
    """(folder or hub id, identity, weight format) of a model name."""
    if name in CATALOGUE:
        entry = CATALOGUE[name]
        folder = cache_folder() / "models" / entry.sha256[:16]
        if not is_converted(folder):
            gguf = download(entry, offline=offline, progress=progress)
            convert(gguf, folder, entry.sha256, progress)
        return str(folder), entry.sha256, "GGUF, dequantised to bfloat16"
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"{name}: no such file; give a GGUF file, a folder, a hub id, or one of {_names()}")
        sha256 = _remembered_sha256(path)
        folder = cache_folder() / "models" / sha256[:16]
        if not is_converted(folder):
            convert(path, folder, sha256, progress)
        return str(folder), sha256, "GGUF, dequantised to bfloat16"
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ModelError(f"{name}: a folder without config.json; give the folder that holds a model's config.json")
        return str(path), _folder_identity(path), "safetensors"
    if path.is_file():
        raise ModelError(f"{name}: not a model; expected a .gguf file, a folder, a hub id, or one of {_names()}")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+|[\w.-]+", name) or name.startswith("."):
        raise ModelError(f"{name}: no such file or folder; give a GGUF file, a folder, a hub id, or one of {_names()}")
    return name, revision or "", "safetensors"


def _names() -> str:
    return ", ".join(CATALOGUE)


SAMPLES = 256  # places at which a file of weights is read for its identity
SAMPLED = 4096  # bytes at each


def _folder_identity(path: Path) -> str:
    """A cheap identity of a local folder: its configuration, its files' names and sizes, and samples of their bytes.

    A fine-tune has files of the same names and sizes, but changes numbers everywhere.
    """
    digest = hashlib.sha256((path / "config.json").read_bytes())
    for file in sorted([*path.glob("*.safetensors"), *path.glob("*.bin")]):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as weights:
            for i in range(SAMPLES):
                weights.seek(i * max(size - SAMPLED, 0) // (SAMPLES - 1))
                digest.update(weights.read(SAMPLED))
    return digest.hexdigest()


def _adapter_identity(adapter: str | Path) -> str:
    """The hash of a local adapter's files; a hub's name."""
    folder = Path(adapter)
    files = sorted([*folder.glob("adapter_config.json"), *folder.glob("adapter_model.*")]) if folder.is_dir() else []
    return " ".join(sha256_of(file) for file in files) or str(adapter)


def _remembered_sha256(path: Path) -> str:
    """A file's SHA-256, remembered in the cache under its path, size and time of change."""
    stat = path.stat()
    key = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
    notes = cache_folder() / "hashes.json"
    try:
        known = json.loads(notes.read_text())
    except (OSError, ValueError):
        known = {}
    if key not in known:
        known[key] = sha256_of(path)
        try:
            notes.parent.mkdir(parents=True, exist_ok=True)
            temporary = notes.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(known))
            os.replace(temporary, notes)
        except OSError as error:
            log.warning("%s: cannot remember the hash (%s)", notes, error.strerror)
    return known[key]


def _commit(name: str, revision: str | None) -> str | None:
    """The commit of a hub model in the hub's cache, which is a folder's name there; None if it was never fetched."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(config).parent.name if isinstance(config, str) else None


def _resident() -> int:
    """Bytes of main memory that this process takes."""
    import psutil

    return psutil.Process().memory_info().rss


def _opened(name: str, open_: Callable[..., Any], arguments: dict[str, Any], again: bool) -> Any:
    """What transformers opens; `again` asks the hub for what an interrupted download left out of the cache.

    Raises:
        ModelError: if it cannot.
    """
    with quiet():
        try:
            return open_(**arguments)
        except Exception as error:
            reason = error
        if again:
            try:
                return open_(**{**arguments, "local_files_only": False})
            except Exception as error:
                reason = error
    raise ModelError(_reason(name, reason)) from reason


def _reason(name: str, error: Exception) -> str:
    """One line for whatever transformers or the hub said, and what to do about it."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    kinds = {type(e).__name__ for e in chain}
    first = " ".join(str(error).split())[:200]
    if "GatedRepoError" in kinds:
        return f"{name}: this model is gated; ask for access on its hub page, then log in with `hf auth login`"
    if "RepositoryNotFoundError" in kinds:
        return f"{name}: the hub has no such model, or it is private; check the name, or log in with `hf auth login`"
    if "RevisionNotFoundError" in kinds:
        return f"{name}: the hub has this model, but not that revision; check --revision"
    if kinds & {"LocalEntryNotFoundError", "OfflineModeIsEnabled"} or "local_files_only" in first:
        return (
            f"{name}: not in the local cache, and the hub cannot be reached (or --offline was given); "
            f"check the network and the name, or use one of {_names()}"
        )
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return f"{name}: not enough memory; use a smaller dtype, a smaller model, or device_map with an offload folder"
    if "trust_remote_code" in first:
        return f"{name}: this model brings its own code; read it, then allow it with --trust-remote-code"
    return f"{name}: cannot be loaded ({first}); check the name and the files"


def _with_adapter(hf: Any, adapter: str | Path) -> Any:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ModelError(
            f"{adapter}: adapters need the peft package; install it with pip install 'rhat[peft]'"
        ) from error
    try:
        return PeftModel.from_pretrained(hf, str(adapter)).merge_and_unload()
    except Exception as error:
        raise ModelError(
            f"{adapter}: the adapter does not fit this model ({' '.join(str(error).split())[:200]})"
        ) from error
