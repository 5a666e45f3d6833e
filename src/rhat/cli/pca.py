"""`rhat pca`: principal components of harmful and harmless test prompts, layer by layer."""

from __future__ import annotations

from rhat.cli import single
from rhat.cli.options import (
    DirectionOption,
    Format,
    FormatOption,
    ModelOptions,
    PresetOption,
    PromptOptions,
    SeedOption,
    shared,
)
from rhat.vocabulary import DEFAULT_PRESET

EXPERIMENT = single.Experiment("pca", "pca", lambda results: results.get("pca", []))


@shared
def pca(
    direction: DirectionOption,
    where: ModelOptions,
    prompts: PromptOptions,
    preset: PresetOption = DEFAULT_PRESET,
    seed: SeedOption = 0,
    form: FormatOption = Format.table,
) -> None:
    """Show principal components of harmful and harmless test prompts, layer by layer.

    For each layer, this prints the share of variance of the first two components, and the cosine of the first with r̂.
    --format json and jsonl also print the points, with prompt id and category.

    Examples:

    [bold]rhat pca -d direction.safetensors[/bold]

    [bold]rhat pca -d direction.safetensors --format jsonl | jq -c "[.layer, .cosine_pc1_rhat]"[/bold]
    """
    single.run(EXPERIMENT, direction, where, prompts, preset, seed, form)
