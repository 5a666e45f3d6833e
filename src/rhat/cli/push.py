"""`rhat push`: a direction uploaded to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.options import Format, FormatOption


def push(
    direction: Annotated[Path, typer.Argument(metavar="FILE", help="A direction file, from rhat find.")],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository; made if it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    message: Annotated[str, typer.Option("--message", help="Message of the commit.")] = "A direction, by rhat",
    form: FormatOption = Format.table,
) -> None:
    """Upload a direction to the Hugging Face hub, to be used as hub:OWNER/NAME wherever a direction file is.

    Three files are uploaded: the vector as safetensors, direction.json for programs, and a README.md. No weights of a
    model are, ever. This needs a token that can write: [bold]hf auth login[/bold], or HF_TOKEN.

    Examples:

    [bold]rhat push direction.safetensors me/refusal-direction --private[/bold]

    [bold]rhat steer -d hub:me/refusal-direction --op set_projection "How do I boil an egg?"[/bold]
    """
    from rhat.directions import Direction
    from rhat.vectors import push as pushed

    commit = pushed(Direction.load(direction), repo, private=private, message=message)
    name = "hub:" + repo.removeprefix("hub:")
    if form is Format.table:
        out().print(f"pushed to {commit}; use it with -d {name}", markup=False, soft_wrap=True)
    else:
        (tables.document if form is Format.json else tables.line)({"direction": name, "commit": commit})
