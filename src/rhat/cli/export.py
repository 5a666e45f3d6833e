"""`rhat export`: an intervention on r̂ as a file of another tool, and the check that it does the same there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rhat.cli.console import out
from rhat.cli.files import check_output
from rhat.cli.options import ModelOptions, OverwriteOption, shared
from rhat.cli.progress import progress
from rhat.cli.steer import VALUE_HELP, AlphaOption, OperatorName, layers_of
from rhat.errors import InterventionError
from rhat.vocabulary.scopes import WRITTEN

if TYPE_CHECKING:
    from rhat.interventions import Intervention


@shared
def export(
    direction: Annotated[Path, typer.Argument(help="A direction file.", show_default=False)],
    to: Annotated[str, typer.Option("--to", help="Format; an unknown name lists those available.")],
    where: ModelOptions,
    destination: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="File to write [dim](default: the direction's name with the format's extension)[/dim]."
        ),
    ] = None,
    op: Annotated[OperatorName, typer.Option("--op", help="Operator that the other tool applies.")] = OperatorName(
        "add"
    ),
    value: Annotated[float | None, typer.Option("--value", help=VALUE_HELP, show_default=False)] = None,
    alpha: AlphaOption = None,
    layer: Annotated[
        int | None,
        typer.Option(
            "--layer", min=0, help="Layer to edit [dim](default: the direction's own)[/dim].", show_default=False
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            help="own, all, or layers such as 5,7-9 [dim](default: those of the operator)[/dim].",
            show_default=False,
        ),
    ] = None,
    scope: Annotated[str, typer.Option("--scope", help=f"Tokens to edit: {WRITTEN}.")] = "all",
    check: Annotated[
        bool, typer.Option("--check", help="Apply the file as the other tool would, and compare logits.")
    ] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Write an intervention on r̂ as a file that another tool reads.

    An intervention that a format cannot express is rejected with the reason. Only the vector is written, never weights.
    --check reads the file back, applies it to the model as the other tool would, and compares the logits with rhat's own;
    the exit code is 1 if they differ by more than rounding, or if the intervention does no more. This needs the model, and
    so do formats that name its modules.

    Examples:

    [bold]rhat export direction.safetensors --to lm-eval --op ablate --check[/bold]

    [bold]rhat export direction.safetensors --to gguf --value 8 --out control.gguf[/bold]

    [bold]rhat export direction.safetensors --to transformer-lens --op set_projection[/bold]
    """
    from rhat import vectors
    from rhat.directions import Direction
    from rhat.interventions import intervene

    r = Direction.load(direction, offline=where.offline)
    doing = intervene(str(op), r, value=value, alpha=alpha, layer=layer, scope=scope, where=layers_of(layers))
    record = vectors.format_to_write(to, doing)
    target = destination or direction.with_name(f"{direction.stem}-{record.name}{record.suffix}")
    if target.suffix != record.suffix:
        raise InterventionError(f"{target}: {to} files end in {record.suffix}; give another --out")
    check_output(target, overwrite=overwrite)
    found = None
    with progress() as report:
        model = where.load(report).for_direction(r) if record.modelled or check else None
        written = vectors.write(to, doing, r, target, model)
        if check and model is not None:
            report("logits", 0, 1)
            found = vectors.check(to, written[0], doing, model)
            report("logits", 1, 1)
    console = out()
    console.print(f"{doing.op}: {_said(doing)}; for {record.tools}", markup=False, soft_wrap=True)
    console.print(f"saved to {', '.join(map(str, written))}", markup=False, soft_wrap=True)
    if found is not None:
        verdict = "agrees" if found.agrees else "DIFFERS" if found.differs else "cannot be told from no intervention"
        console.print(
            f"{verdict}: logits of {found.n_prompts} prompts are within {found.difference:.2g} of rhat's (rounding: up to "
            f"{found.tolerance:.2g}); the intervention moves them by up to {found.moved:.2g}",
            markup=False,
            soft_wrap=True,
        )
        if not found.agrees:
            raise typer.Exit(1)


def _said(doing: Intervention) -> str:
    said = doing.describe()
    number = next((f", {name} {said[name]:.4g}" for name in said if name not in ("op", "sites", "scope")), "")
    return f"{said['sites']}, {said['scope']} tokens{number}"
