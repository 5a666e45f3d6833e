"""`rhat heads`: attribute r̂ to attention heads, and see how few of them induce refusal."""

from __future__ import annotations

from rhat.cli import single
from rhat.cli.options import DirectionOption, ModelOptions, PromptOptions, shared

EXPERIMENT = single.Experiment("heads", "heads", lambda results: results.get("heads", {}).get("ranking", []))


@shared
def heads(
    direction: DirectionOption,
    where: ModelOptions,
    prompts: PromptOptions,
    asked: single.Options,
) -> None:
    """Attribute r̂ to attention heads, and show how few of them induce refusal.

    Heads are ranked by how much they contribute to the gap in projection between harmful and harmless prompts at the
    last prompt token. Then, on harmless prompts, the outputs of the top k heads at that token are replaced by their means
    over harmful prompts, and compared with k random heads of the same layers. --format jsonl prints the ranking.

    Examples:

    [bold]rhat heads -d direction.safetensors[/bold]

    [bold]rhat heads -d direction.safetensors --preset quick --format jsonl | head -6[/bold]
    """
    single.run(EXPERIMENT, direction, where, prompts, asked)
