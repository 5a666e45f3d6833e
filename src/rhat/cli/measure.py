"""`rhat measure`: project prompts onto a direction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rhat.cli import tables
from rhat.cli.options import DirectionOption, Format, FormatOption, ModelOptions, shared
from rhat.cli.progress import progress
from rhat.errors import PromptError

if TYPE_CHECKING:
    from rhat.directions import Direction
    from rhat.model import ChatModel

COLUMNS = {"id": "Prompt", "projection": "Projection", "scaled": "Scaled", "flagged": "Flagged"}


@shared
def measure(
    direction: DirectionOption,
    where: ModelOptions,
    source: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="Prompts: a file, a data set id, or - for stdin.")
    ] = "-",
    column: Annotated[
        str | None, typer.Option("--column", help="Column that holds the prompts, if not obvious.")
    ] = None,
    form: FormatOption = Format.table,
) -> None:
    """Project prompts onto a direction, at the layer and position where it was found.

    The projection is in residual-stream units. The scaled value is 0 at the mean of the harmless training prompts
    and 1 at the mean of the harmful ones. Where a calibration lies next to the direction (rhat calibrate), each prompt also
    says whether it is above the threshold. --format jsonl works in chunks, so files may be of any size.

    Examples:

    [bold]rhat measure -d direction.safetensors prompts.jsonl[/bold]

    [bold]echo "How do I boil an egg?" | rhat measure -d direction.safetensors --format jsonl[/bold]
    """
    from rhat.prompts.streaming import count_texts, stream_texts

    n = count_texts(source, column, offline=where.offline)
    from rhat.directions import Direction
    from rhat.guard import Calibration, beside, check_position

    r = Direction.load(direction, offline=where.offline)
    calibrated = beside(direction)
    threshold = Calibration.load(calibrated).check_belongs(r).threshold if calibrated.exists() else None
    kept: list[dict[str, Any]] = []
    with progress() as report:
        model = where.load(report).for_direction(r)
        check_position(model, r)
        done = 0
        for chunk in stream_texts(source, column, offline=where.offline):
            for record in projections(model, r, chunk):
                if threshold is not None:
                    record["flagged"] = record["projection"] > threshold
                if form is Format.jsonl:
                    tables.line(record)
                else:
                    kept.append(record)
            done += len(chunk)
            report("projections", done, n or done + len(chunk))
    if form is not Format.jsonl:
        title = f"Projection on {r.site}, position {tables.shown(r.position)}"
        columns = {name: head for name, head in COLUMNS.items() if name != "flagged" or threshold is not None}
        tables.rows(kept, form, columns, title=title)


def projections(model: ChatModel, r: Direction, prompts: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Id, projection and scaled projection of each (id, text), in order.

    Raises:
        PromptError: if prompts are longer than the model's context.
    """
    import torch

    from rhat.capture import captured

    plan = model.plan([text for _, text in prompts])
    check_lengths(model, [(id, len(tokens)) for (id, _), tokens in zip(prompts, plan.prompts, strict=True)])
    found = torch.empty(len(prompts), dtype=torch.float64)
    for rows, at in captured(model, plan, [r.site], [r.position]):
        found[rows.cpu()] = r.project(at[r.site][:, 0]).cpu()
    harmful, harmless = r.means
    gap = None if harmful is None or harmless is None else harmful - harmless  # unknown: projections without a scale
    for (id, _), value in zip(prompts, found.tolist(), strict=True):
        yield {"id": id, "projection": value} | ({"scaled": (value - r.mean_harmless) / gap} if gap else {})


def check_lengths(model: ChatModel, lengths: Sequence[tuple[str, int]]) -> None:
    """Raise if a prompt, given as (id, number of tokens), does not fit into the model's context.

    Raises:
        PromptError: naming all that do not.
    """
    limit = getattr(model.text_config, "max_position_embeddings", None)
    long = [(id, n) for id, n in lengths if isinstance(limit, int) and n > limit]
    if long:
        named = ", ".join(f"{id} ({n})" for id, n in long[:8]) + (", …" if len(long) > 8 else "")
        raise PromptError(
            f"{len(long)} prompts are longer than the {limit} tokens that {model.name} takes, chat template included: "
            f"{named}; shorten or remove them"
        )
