"""Opening: what transformers and peft load, and one line for whatever goes wrong in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from rhat.errors import ModelError
from rhat.model.quiet import quiet
from rhat.model.source import names


def opened(name: str, open_: Callable[..., Any], arguments: dict[str, Any], again: bool) -> Any:
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
            f"check the network and the name, or use one of {names()}"
        )
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return f"{name}: not enough memory; use a smaller dtype, a smaller model, or device_map with an offload folder"
    if "trust_remote_code" in first:
        return f"{name}: this model brings its own code; read it, then allow it with --trust-remote-code"
    return f"{name}: cannot be loaded ({first}); check the name and the files"


def with_adapter(hf: Any, adapter: str | Path) -> Any:
    """A transformers model with a PEFT adapter merged into its weights.

    Raises:
        ModelError: if peft is not installed, or the adapter does not fit.
    """
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
