"""`rhat probe`: compare the finders: difference of means, LAT, logistic probe, CCS, and a random direction."""

from __future__ import annotations

from rhat.cli import single
from rhat.cli.options import DirectionOption, Format, FormatOption, ModelOptions, PromptOptions, SeedOption, shared
from rhat.cli.study import Preset

EXPERIMENT = single.Experiment("finders", 8, lambda results: results.get("finders", []))


@shared
def probe(
    direction: DirectionOption,
    where: ModelOptions,
    prompts: PromptOptions,
    preset: single.PresetOption = Preset.standard,
    seed: SeedOption = 0,
    form: FormatOption = Format.table,
) -> None:
    """Compare the finders: difference of means, LAT, logistic probe, CCS, and a random direction.

    For each: the cosine with r̂, its accuracy on test prompts with an interval, and what setting it does to refusal.
    CCS is a probe, on pairs of a request with Yes and with No, and on true and false statements.

    Examples:

    [bold]rhat probe -d direction.safetensors[/bold]

    [bold]rhat probe -d mine.safetensors --harmful bad.jsonl --harmless good.jsonl[/bold]
    """
    single.run(EXPERIMENT, direction, where, prompts, preset, seed, form)
