"""`rhat audit`: what a vector from anywhere does to refusal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.documents import DocumentOptions
from rhat.cli.files import check_output
from rhat.cli.options import (
    DirectionOption,
    Format,
    MarginOption,
    ModelOptions,
    PresetOption,
    PromptOptions,
    shared,
)
from rhat.cli.progress import announce, progress
from rhat.cli.reading import ReadingOptions
from rhat.cli.stopping import keeping
from rhat.cli.which import VectorOptions
from rhat.vocabulary import DEFAULT_PRESET

if TYPE_CHECKING:
    from rhat.auditing import Audit

DOSE = "The dose"
CHANGES = {"who": "Condition", "prompts": "Prompts", "rate": "Refused", "change": "Change", "verdict": "Verdict"}
COSINES = {"layer": "Layer", "cosine": "Cosine"}


@shared
def audit(
    vector: Annotated[
        Path, typer.Argument(help="A file or folder of another tool, or a direction file.", show_default=False)
    ],
    direction: DirectionOption,
    where: ModelOptions,
    prompts: PromptOptions,
    reading: ReadingOptions,
    which: VectorOptions,
    kl: Annotated[
        float,
        typer.Option("--kl", help="KL of the next token at which everything is compared, nats.", rich_help_panel=DOSE),
    ] = 0.5,
    strength: Annotated[
        float | None,
        typer.Option(
            "--strength",
            help="In place of --kl: add the file's vector so many times, and compare at the KL that it makes.",
            show_default=False,
            rich_help_panel=DOSE,
        ),
    ] = None,
    randoms: Annotated[int, typer.Option("--randoms", help="Random directions as controls, 20 or more.")] = 20,
    margin: MarginOption = 0.10,
    preset: PresetOption = DEFAULT_PRESET,
    destination: Annotated[Path, typer.Option("--out", "-o", help="Where to save the audit.")] = Path("audit.json"),
    asked: DocumentOptions = DocumentOptions(),
) -> None:
    """Measure what a vector, such as a persona or style vector, does to refusal.

    The vector, the vector without its part along r̂, r̂ itself and random directions are each added at a dose at which
    they change the next token equally, by KL on harmless validation prompts. Answers to harmful, harmless and borderline
    test prompts are judged; the verdict says with intervals whether the vector changes refusal more than random
    directions do, and what is left without its part along r̂. Files are those that [bold]rhat import[/bold] reads.

    Completed work is kept beside the output, in audit.json.kept, until the audit ends.

    Examples:

    [bold]rhat audit persona.gguf --site resid_pre.12 -d direction.safetensors[/bold]

    [bold]rhat audit style.safetensors -d direction.safetensors --strength 4 --preset quick[/bold]
    """
    check_output(destination, overwrite=asked.overwrite)
    from rhat.auditing import AuditSettings
    from rhat.auditing import audit as audited
    from rhat.auditing.cost import told_of_audit
    from rhat.directions import Direction
    from rhat.model.work import counting
    from rhat.scoring.pieces import Pieces

    settings = AuditSettings(kl, strength, randoms, margin, str(preset), asked.seed, reading.judged_tokens)
    which.read(vector)  # before the model is loaded
    r = Direction.load(direction, offline=where.offline)
    contrast = prompts.read(asked.seed, where.offline)
    finding = reading.read_as(r)
    folder = destination.with_name(destination.name + ".kept")
    with keeping(folder), progress() as report:
        model = where.load(report).for_direction(r)
        given = which.turned(which.read(vector, model.d_model).direction(model))
        pieces = Pieces.of(folder, model)
        with counting() as ledger:
            if (told := told_of_audit(model, contrast, r, given, settings, finding, pieces)) is not None:
                told.follow(ledger)
                announce(report, told)
            found = audited(
                model,
                contrast,
                r,
                given,
                settings,
                file=str(vector),
                find_settings=finding,
                progress=report,
                pieces=pieces,
            )
        found.save(destination)
    pieces.remove()
    asked.show(found, found.comparisons, lambda: _print(found, destination))


def _print(found: Audit, written: Path) -> None:
    def say(text: str) -> None:
        out().print(text, markup=False, soft_wrap=True)

    say(found.sentence)
    out().print()
    for sentence in found.sentences:
        say(sentence)
    out().print()
    from rhat.auditing.rows import CONDITIONS
    from rhat.display import wording

    rows = []
    for rate in found.rates:
        row = found.comparison(rate.condition, "baseline", rate.prompts)
        rows.append(
            {
                "who": CONDITIONS[rate.condition],
                "prompts": rate.prompts,
                "rate": wording.rate(rate),
                "change": "" if row is None else wording.difference(row),
                "verdict": "" if row is None else wording.judgement(row),
            }
        )
    tables.rows(rows, Format.table, CHANGES, title="Refusals of test prompts, and changes against no steering")
    cosines = [{"layer": f"{c.layer}{' (r̂)' if c.own else ''}", "cosine": c.cosine} for c in found.cosines]
    tables.rows(cosines, Format.table, COSINES, title="Cosine with r̂, and with the difference of means at other layers")
    say(f"saved to {written}")
