"""Pushing: a direction as a repository on the Hugging Face hub, with a card for people and one for programs. No weights."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from rhat.artifacts.files import made_by
from rhat.artifacts.hub import FILE, why
from rhat.directions import Direction
from rhat.errors import DirectionError

CARD, README = "direction.json", "README.md"
PUSHED = (FILE, CARD, README)
"""The files of a pushed direction."""


def card(direction: Direction) -> dict[str, Any]:
    """What a program needs to use the vector: where it acts, how long it is, of which model it is."""
    return {
        **direction.describe(),
        "tensor": "direction",
        "length": 1.0,
        "d_model": len(direction.unit),
        "model": dict(direction.model),
        "prompts": direction.prompts,
        "conventions": "resid_pre.k is the input of block k, the output of block k - 1; layers count from 0, positions from "
        "the end of the prompt; higher projections lean towards refusal",
        "made_by": f"rhat {made_by()}",
    }


def readme(direction: Direction, repo: str) -> str:
    """The repository's page."""
    name = str(direction.model.get("name", "an unnamed model"))
    head = ["---", "library_name: rhat", "tags:", "- refusal-direction", "- steering-vector", "- interpretability"]
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) and not Path(name).exists():
        head += [f"base_model: {name}"]
    harmful, harmless = ("unknown" if m is None else f"{m:.4g}" for m in direction.means)
    return "\n".join(
        [
            *head,
            "---",
            "",
            f"# Refusal direction of {name}",
            "",
            f"A unit vector of width {len(direction.unit)} in the residual stream, at `{direction.site}` (layers count from 0: the "
            f"input of block {direction.layer}), read at token position {direction.position} of the prompt. These are no weights of a "
            "model, and none are needed beside the model's own.",
            "",
            "| | |",
            "| --- | --- |",
            f"| model | `{name}` ({direction.model.get('revision_or_sha256', 'revision unknown')}) |",
            f"| method | {direction.method} |",
            f"| mean projection of harmful prompts | {harmful} |",
            f"| mean projection of harmless prompts | {harmless} |",
            f"| distance of the two means along it | {direction.norm:.4g} |",
            f"| prompts | fingerprint `{direction.prompts or 'unknown'}` |",
            "",
            "It means something on the model that it was found on, and on no other.",
            "",
            "```sh",
            f'rhat steer -d hub:{repo} --model {name} --op set_projection "How do I boil an egg?"',
            f"rhat measure -d hub:{repo} --model {name} prompts.txt",
            "```",
            "",
            "```python",
            "import rhat",
            "",
            f'r = rhat.Direction.load("hub:{repo}")',
            "```",
            "",
            f"`{CARD}` says the same to programs, and `{FILE}` holds the tensor `direction`.",
            "",
        ]
    )


def push(
    direction: Direction,
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "A direction, by rhat",
) -> str:
    """Upload a direction as `owner/name` on the hub, which is made if it is not there, and return the address of the commit.

    Three files: the vector as safetensors with all that is known of it, `direction.json` and `README.md`; no weights. What else
    the repository holds stays. `token` defaults to the one that `hf auth login` or HF_TOKEN gave. Read it back with
    `Direction.load("hub:owner/name")`.

    Raises:
        DirectionError: if there is no token, it may not write there, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi, constants, get_token

    repo = repo.removeprefix("hub:")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", repo) is None:
        raise DirectionError(f"{repo}: no id of a repository; expected owner/name")
    if constants.HF_HUB_OFFLINE:
        raise DirectionError(f"{repo}: HF_HUB_OFFLINE is set, so nothing can be pushed; unset it")
    if (token or get_token()) is None:
        raise DirectionError(f"{repo}: no token; log in with `hf auth login`, or set HF_TOKEN")
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        direction.save(Path(folder) / FILE)
        said = json.dumps(card(direction), indent=2, ensure_ascii=False) + "\n"
        (Path(folder) / CARD).write_text(said, encoding="utf-8")
        (Path(folder) / README).write_text(readme(direction, repo), encoding="utf-8")
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo, folder_path=folder, allow_patterns=list(PUSHED), commit_message=message
            )
        except Exception as error:
            raise DirectionError(f"{repo}: not pushed; {why(error)}") from error
    return str(done.commit_url)
