"""Directions on the Hugging Face hub: `hub:owner/name` in place of a file, and what the hub says when it has none."""

from __future__ import annotations

import re
from pathlib import Path

from rhat.errors import DirectionError

FILE = "direction.safetensors"
"""The file of a direction in its repository."""
PATIENCE = 10.0  # seconds for the hub's first answer
ID = re.compile(r"hub:(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[^/@]+))?(?:/(?P<file>[^@]+))?")


def on_hub(path: str | Path) -> bool:
    """Whether this names a direction on the hub and no file on this machine."""
    return str(path).startswith("hub:")


def fetched(path: str | Path, *, offline: bool = False) -> Path:
    """The file itself; of `hub:owner/name`, `hub:owner/name@revision` or `hub:owner/name/FILE` its copy in the local cache.

    What the hub has is asked for unless `offline` says to use the cache alone; a file is downloaded once.

    Raises:
        DirectionError: if the id is none, the hub has no such repository, revision or file, or cannot be reached.
    """
    if not on_hub(path):
        return Path(path)
    name = str(path).replace("\\", "/")
    match = ID.fullmatch(name)
    if match is None:
        raise DirectionError(f"{name}: expected hub:owner/name, hub:owner/name@revision or hub:owner/name/FILE")
    from huggingface_hub import hf_hub_download

    wanted = match["file"] or FILE
    try:
        found = hf_hub_download(
            match["repo"],
            wanted,
            revision=match["revision"],
            local_files_only=offline,
            etag_timeout=PATIENCE,
        )
    except Exception as error:
        raise DirectionError(f"{name}: {why(error, wanted)}") from error
    return Path(found)


def why(error: Exception, wanted: str = FILE) -> str:
    """What an error of the hub's library means, and what to do about it."""
    from huggingface_hub import constants, errors

    known: tuple[tuple[type[Exception], str], ...] = (
        (
            errors.LocalEntryNotFoundError,
            f"not in the local cache, and the hub cannot be reached at {constants.ENDPOINT} (or --offline was given); run once "
            "with a connection",
        ),
        (
            errors.GatedRepoError,
            "this repository is gated; ask for access on its hub page, then log in with `hf auth login`",
        ),
        (
            errors.RepositoryNotFoundError,
            "the hub has no such repository, or it is private; check the name, or log in with `hf auth login`",
        ),
        (errors.RevisionNotFoundError, "the hub has this repository, but not that revision; check what follows the @"),
        (errors.EntryNotFoundError, f"the repository has no file {wanted}; name one, as in hub:owner/name/FILE"),
        (errors.LocalTokenNotFoundError, "no token; log in with `hf auth login`, or set HF_TOKEN"),
        (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE is set, so the hub is not asked; unset it"),
        (errors.HFValidationError, "no id of a repository; expected owner/name"),
    )
    for kind, said in known:
        if isinstance(error, kind):
            return said
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return "the hub does not know this token; log in with `hf auth login`, or set HF_TOKEN"
    if status == 403:
        return "this token may not do that there; use one that can write to the repository, or another owner's name"
    text = " ".join(str(error).split())[:160] or type(error).__name__
    if status is not None:
        return f"the hub answers {status} ({text}); try again later"
    # the hub's library has changed its HTTP client twice; the clients' errors of transport agree in these names
    if isinstance(error, OSError) or "TransportError" in {kind.__name__ for kind in type(error).__mro__}:
        return f"the hub cannot be reached at {constants.ENDPOINT} ({text}); check the network"
    return f"the hub's answer was not understood ({type(error).__name__}: {text}); upgrade huggingface_hub"
