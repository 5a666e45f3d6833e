"""`rhat calibrate-dose`: the dose of an edit that does a given damage."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.options import (
    BorderlineOption,
    DirectionOption,
    Format,
    FormatOption,
    ModelOptions,
    PromptOptions,
    SeedOption,
    shared,
)
from rhat.cli.progress import progress
from rhat.cli.steer import layers_of
from rhat.vocabulary import OPERATORS
from rhat.vocabulary.scopes import WRITTEN

TRIED = {"dose": "Dose", "kl_mean": "KL (nats)"}

if TYPE_CHECKING:
    DosedName = OnName = TowardsName = str
else:
    DosedName = StrEnum("DosedName", {o.name: o.name for o in OPERATORS.values() if o.way is not None})
    OnName = StrEnum("OnName", {name: name for name in ("harmless", "harmful", "borderline")})
    TowardsName = StrEnum("TowardsName", {name: name for name in ("refusal", "answers")})


@shared
def calibrate_dose(
    direction: DirectionOption,
    op: Annotated[DosedName, typer.Option("--op", help="Operator whose number is looked for.")],
    where: ModelOptions,
    prompts: PromptOptions,
    kl: Annotated[float, typer.Option("--kl", help="Mean KL of the next token that is asked for, nats.")] = 0.2,
    on: Annotated[OnName, typer.Option("--on", help="Validation prompts on which KL is measured.")] = "harmless",
    towards: Annotated[
        TowardsName | None,
        typer.Option(
            "--towards",
            help="Where the edit is to move answers [dim](default: answers for harmful prompts, else refusal, if it can)[/dim].",
            show_default=False,
        ),
    ] = None,
    scope: Annotated[str, typer.Option("--scope", help=f"Tokens to edit: {WRITTEN}.")] = "all",
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            help="own, all, or layers such as 5,7-9 [dim](default: the operator's)[/dim].",
            show_default=False,
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=2, help="Validation prompts that are used at most.")] = 64,
    borderline: BorderlineOption = None,
    seed: SeedOption = 0,
    form: FormatOption = Format.table,
) -> None:
    """Find the dose at which an edit changes the next token by a given KL on validation prompts.

    Edits can be compared only where they do the same damage. The dose has a bootstrap interval over prompts by topic, and the
    KL that it makes has its own. If no dose makes that KL, the command fails and says what can be reached: an operator that
    removes a share, or sets an angle, has a largest one.

    Examples:

    [bold]rhat calibrate-dose -d direction.safetensors --op add --kl 0.2[/bold]

    [bold]rhat calibrate-dose -d direction.safetensors --op subtract --kl 0.5 --on harmful --scope last_prompt_token[/bold]
    """
    from rhat.benching import calibrate_dose as calibrated
    from rhat.directions import Direction

    r = Direction.load(direction, offline=where.offline)
    acting = layers_of(layers)
    contrast = prompts.read(seed, where.offline, borderline)
    with progress() as report:
        model = where.load(report)
        found = calibrated(
            model,
            contrast,
            r,
            str(op),
            kl,
            label=str(on),  # type: ignore[arg-type]
            towards=None if towards is None else str(towards),
            scope=scope,
            where=acting,
            n=n,
            seed=seed,
            progress=report,
        )
    if form is Format.json:
        tables.document(found.plain())
    elif form is Format.jsonl:
        tables.line(found.plain())
    else:
        out().print(found.sentence, markup=False, soft_wrap=True)
        out().print()
        tables.rows([row.plain() for row in found.tried], Format.table, TRIED, title="Doses that were tried")
