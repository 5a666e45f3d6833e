"""`rhat import`: a vector from elsewhere, as a direction with all that experiments need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.files import check_output
from rhat.cli.options import ModelOptions, OverwriteOption, PromptOptions, SeedOption, shared
from rhat.cli.progress import progress
from rhat.cli.reading import ReadingOptions
from rhat.cli.which import VectorOptions

if TYPE_CHECKING:
    from rhat.directions import Direction
    from rhat.selection.finding import Finding


@shared
def import_(
    file: Annotated[
        Path, typer.Argument(help="A file or folder of another tool, or a direction file.", show_default=False)
    ],
    where: ModelOptions,
    prompts: PromptOptions,
    reading: ReadingOptions,
    which: VectorOptions,
    destination: Annotated[Path, typer.Option("--out", "-o", help="Where to save the direction.")] = Path(
        "direction.safetensors"
    ),
    position: Annotated[
        int | None,
        typer.Option(
            "--position",
            max=-1,
            help="Token position at which prompts are read, if the file does not state it; -1 is the last.",
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Measure the means that the file lacks.")
    ] = True,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Turn a vector from another tool into a direction file.

    The format is detected from the contents: tensors, safetensors, GGUF control vectors, and the files of
    refusal_direction, steering-vectors and lm-eval. What the file lacks is measured on harmful and harmless training
    prompts: both mean projections, and the position at which the difference of means is most aligned with the vector. The
    vector is scaled to unit length and otherwise unchanged. Pickles are read as data only; nothing in them is run.

    Examples:

    [bold]rhat import direction.pt --model ./my-model[/bold]

    [bold]rhat import control.gguf --site resid_pre.12 --out mine.safetensors[/bold]

    [bold]rhat import sae.safetensors --key W_dec --row 1208 --site resid_post.11[/bold]
    """
    check_output(destination, overwrite=overwrite)
    which.read(file)  # before the model is loaded
    contrast = prompts.read(seed, where.offline)
    from dataclasses import replace

    from rhat import vectors
    from rhat.scoring.phrases import Phrases
    from rhat.selection.settings import FindSettings

    phrases = Phrases() if reading.refusal_phrases is None else Phrases.read(reading.refusal_phrases)
    settings = FindSettings(phrases=phrases, refusal_tokens=reading.tokens())
    finding: Finding | None = None
    with progress() as report:
        model = where.load(report)
        given = which.read(file, model.d_model)
        lacking = given.position is None and position is None
        r = which.turned(replace(given, position=given.position if position is None else position).direction(model))
        if measure and None in r.means:
            r, finding = vectors.adopt(model, contrast, r, settings, choose_position=lacking, progress=report)
    written = r.save(destination)
    length = float(given.raw.double().norm())
    if abs(length - 1) > 1e-3:
        out().print(f"the file's vector has length {length:.4g}: divided by it", soft_wrap=True)
    _print(r, finding, lacking and finding is not None, written)


def _print(r: Direction, finding: Finding | None, chosen: bool, written: Path) -> None:
    def say(text: str) -> None:
        out().print(text, markup=False, soft_wrap=True)

    harmful, harmless = r.means
    say(
        f"r̂ at {r.site}, position {r.position}"
        + (", where the difference of means points most along it" if chosen else "")
    )
    if harmful is None or harmless is None:
        why = "" if finding is None else f": {finding.sentence}"
        say(f"mean projections are unknown{why}; set_projection needs a --value")
    else:
        say(f"mean projection: harmful {tables.shown(harmful)}, harmless {tables.shown(harmless)}")
        if harmful < harmless:
            say(
                "harmful prompts lie lower on it than harmless ones: it points away from refusal; --negate turns it round"
            )
    say(f"saved to {written}")
