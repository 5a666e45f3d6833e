"""`rhat layers`: compare setting with adding at every layer, each with its own r̂."""

from __future__ import annotations

from rhat.cli import single
from rhat.cli.options import DirectionOption, ModelOptions, PromptOptions, shared

EXPERIMENT = single.Experiment("layers", "induce", lambda results: results.get("layers", []))


@shared
def layers(
    direction: DirectionOption,
    where: ModelOptions,
    prompts: PromptOptions,
    asked: single.Options,
) -> None:
    """Compare setting with adding at every layer, each with its own r̂.

    For each layer, this prints the mean projection of harmless and harmful prompts, and the refusal score of harmless prompts
    when the projection is set and when the same amount is added. The two agree if harmless prompts project to about zero.

    Examples:

    [bold]rhat layers -d direction.safetensors[/bold]

    [bold]rhat layers -d direction.safetensors --format jsonl > layers.jsonl[/bold]
    """
    single.run(EXPERIMENT, direction, where, prompts, asked)
