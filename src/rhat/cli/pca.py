"""`rhat pca`: principal components of harmful and harmless test prompts, layer by layer."""

from __future__ import annotations

from rhat.cli import single
from rhat.cli.options import DirectionOption, ModelOptions, PromptOptions, shared

EXPERIMENT = single.Experiment("pca", "pca", lambda results: results.get("pca", []))


@shared
def pca(
    direction: DirectionOption,
    where: ModelOptions,
    prompts: PromptOptions,
    asked: single.Options,
) -> None:
    """Show principal components of harmful and harmless test prompts, layer by layer.

    For each layer, this prints the share of variance of the first two components, and the cosine of the first with r̂.
    --format json and jsonl also print the points, with prompt id and category.

    Examples:

    [bold]rhat pca -d direction.safetensors[/bold]

    [bold]rhat pca -d direction.safetensors --format jsonl | jq -c "[.layer, .cosine_pc1_rhat]"[/bold]
    """
    single.run(EXPERIMENT, direction, where, prompts, asked)
