"""`rhat probe`: compare all finders, CCS and a random direction."""

from __future__ import annotations

from rhat.cli import single
from rhat.cli.options import DirectionOption, ModelOptions, PromptOptions, shared

EXPERIMENT = single.Experiment("finders", "finders", lambda results: results.get("finders", []))


@shared
def probe(
    direction: DirectionOption,
    where: ModelOptions,
    prompts: PromptOptions,
    asked: single.Options,
) -> None:
    """Compare all finders (such as the difference of means, LAT and a logistic probe), CCS and a random direction.

    For each finder, this prints the cosine with r̂, the accuracy on test prompts with an interval, and the effect on refusal
    of setting the projection. CCS is only a probe, on pairs of a request with Yes and No, and on true and false statements.

    Examples:

    [bold]rhat probe -d direction.safetensors[/bold]

    [bold]rhat probe -d mine.safetensors --harmful bad.jsonl --harmless good.jsonl[/bold]
    """
    single.run(EXPERIMENT, direction, where, prompts, asked)
