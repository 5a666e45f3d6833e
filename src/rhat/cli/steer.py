"""`rhat steer`: answers with and without an intervention, side by side, as they are generated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.options import DirectionOption, Format, FormatOption, ModelOptions, shared
from rhat.cli.progress import progress
from rhat.errors import InterventionError, PromptError
from rhat.vocabulary import OPERATORS, PARAMETERS
from rhat.vocabulary.operators import operators_taking
from rhat.vocabulary.scopes import WRITTEN

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rhat.interventions import Intervention
    from rhat.interventions.intervention import Where
    from rhat.model import ChatModel, Layout

SLOTS = 16  # prompts answered at the same time
SIDES = ("without", "with_")
VALUE_HELP = "; ".join(
    f"{parameter.name} of {', '.join(operators_taking(name))}"
    + (f", in {parameter.unit}" if parameter.unit else "")
    + f" [dim](default: {parameter.default_text})[/dim]"
    for name, parameter in PARAMETERS.items()
)
ALPHA_HELP = (
    "In place of --value, by the means: 0 is the harmless mean, 1 the harmful one; of a coefficient, 1 is their gap."
)
AlphaOption = Annotated[float | None, typer.Option("--alpha", help=ALPHA_HELP, show_default=False)]


if TYPE_CHECKING:
    OperatorName = str
else:
    OperatorName = StrEnum("OperatorName", {name: name for name in OPERATORS})


def layers_of(text: str | None) -> Where | None:
    """What `--layers` means: own, all, or layers such as 5,7-9.

    Raises:
        InterventionError: if it is none of these.
    """
    if text is None or text in ("own", "all"):
        return {None: None, "own": "own layer", "all": "all layers"}[text]
    layers: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if found is None or (found[2] and int(found[2]) < int(found[1])):
            raise InterventionError(f"--layers {text!r}: expected own, all, or layers such as 5,7-9")
        layers += range(int(found[1]), int(found[2] or found[1]) + 1)
    return tuple(layers)


@dataclass
class Answer:
    """The two answers to a prompt, with and without the intervention."""

    prompt: str
    without: str = ""
    with_: str = ""
    reasons: dict[str, str] = field(default_factory=dict)
    judged: dict[str, str] = field(default_factory=dict)  # what follows the think block, where there is one

    @property
    def done(self) -> bool:
        """Whether both answers have ended."""
        return len(self.reasons) == 2


@shared
def steer(
    prompts: Annotated[
        list[str], typer.Argument(help="Prompts to answer; - reads them from stdin.", show_default=False)
    ],
    direction: DirectionOption,
    op: Annotated[OperatorName, typer.Option("--op", help="Operator to apply to the projection on r̂.")],
    where: ModelOptions,
    value: Annotated[
        float | None,
        typer.Option(
            "--value",
            help=VALUE_HELP,
            show_default=False,
        ),
    ] = None,
    alpha: AlphaOption = None,
    layer: Annotated[
        int | None,
        typer.Option("--layer", min=0, help="Layer to edit [dim](default: r̂'s own)[/dim].", show_default=False),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            help="own, all, or layers such as 5,7-9 [dim](default: "
            f"all for {', '.join(o.name for o in OPERATORS.values() if o.everywhere)}, else own)[/dim].",
            show_default=False,
        ),
    ] = None,
    scope: Annotated[
        str,
        typer.Option(
            "--scope",
            help=f"Tokens to edit: {WRITTEN}.",
        ),
    ] = "all",
    max_new_tokens: Annotated[
        int, typer.Option("--max-new-tokens", min=1, help="Maximum number of tokens per answer.")
    ] = 128,
    form: FormatOption = Format.table,
) -> None:
    """Answer prompts with and without an intervention, side by side, as the answers are generated.

    set_projection makes the model refuse harmless prompts; ablate and subtract make it answer harmful ones.
    Decoding is greedy. In a pipe, the answers follow each other; --format jsonl prints one line per prompt.

    Examples:

    [bold]rhat steer -d direction.safetensors --op set_projection "How do I boil an egg?"[/bold]

    [bold]rhat steer -d direction.safetensors --op set_projection --alpha 0.5 "How do I boil an egg?"[/bold]

    [bold]rhat steer -d direction.safetensors --op add --value 12 --scope prompt "How are eggs boiled?"[/bold]

    [bold]cat prompts.txt | rhat steer -d direction.safetensors --op ablate --format jsonl -[/bold]
    """
    texts = _texts(prompts)
    if OPERATORS[op].parameter is None and value is not None:
        raise InterventionError(f"--value: {op} takes none; leave it out, or use another operator")
    from rhat.directions import Direction
    from rhat.interventions import intervene

    r = Direction.load(direction, offline=where.offline)
    doing = intervene(str(op), r, value=value, alpha=alpha, layer=layer, scope=scope, where=layers_of(layers))
    with progress() as report:
        model = where.load(report)
    r.check_fits(model)
    model.tell_thinking(r)
    doing.sites(model.layout)
    answers = answered(model, texts, doing, max_new_tokens)
    if form is Format.jsonl:
        for answer in in_order(answers, len(texts)):
            tables.line(_record(answer, doing, model.layout))
    elif form is Format.json:
        tables.document([_record(answer, doing, model.layout) for answer in in_order(answers, len(texts))])
    elif out().is_terminal:
        _live(answers, len(texts), str(doing.op))
    else:
        for answer in in_order(answers, len(texts)):
            out().print(_plain(answer, doing.op), markup=False, soft_wrap=True)


def _texts(prompts: Sequence[str]) -> list[str]:
    from rhat.prompts import read_texts

    if list(prompts) == ["-"]:
        return [text for _, text in read_texts("-")]
    if any(not prompt.strip() for prompt in prompts):
        raise PromptError("got an empty prompt; give text, or - to read prompts from stdin")
    for prompt in prompts:
        if _is_file(prompt):
            raise PromptError(
                f"{prompt}: is a file, and steer answers the words that it is given; for the prompts in it, "
                f"use `rhat steer … - < {prompt}`"
            )
    return list(prompts)


def _is_file(text: str) -> bool:
    """Whether a prompt is the name of a file that is there: nobody asks a model about one word that happens to be one."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name, or a character that no name has
        return False


def answered(
    model: ChatModel, texts: Sequence[str], doing: Intervention, max_new_tokens: int
) -> Iterator[tuple[int, Answer]]:
    """After each step, (index, answer) of every answer that has grown. Both sides are decoded in one batch."""
    from rhat.generation import Engine, Request

    answers = [Answer(text) for text in texts]
    tokens = model.tokenize(texts)
    edits = doing.edits(model)
    limit = model.thinking.limit
    waiting = [
        Request(prompt, max_new_tokens, row=2 * index + side, edits=edits if side else None, stop=(), thinking=limit)
        for index, prompt in enumerate(tokens)
        for side in (0, 1)
    ]
    longest = max(map(len, tokens)) + max_new_tokens + limit
    engine = Engine(model, n_slots=2 * min(SLOTS, len(texts)), max_length=-(-longest // 8) * 8)
    while waiting or engine.rows:
        if waiting and engine.free:
            joining, waiting = waiting[: engine.free], waiting[engine.free :]
            grown = engine.add(joining)
        else:
            finished = engine.step()
            grown = [*finished, *engine.rows]
        for row in grown:
            index, side = divmod(row.request.row, 2)
            setattr(answers[index], SIDES[side], str(row.text))
            if row.finish_reason:
                answers[index].reasons[SIDES[side]] = row.finish_reason
                answers[index].judged[SIDES[side]] = row.completion(model.tokenizer).text
            yield index, answers[index]


def in_order(answers: Iterator[tuple[int, Answer]], n: int) -> Iterator[Answer]:
    """Finished answers in the order of their prompts, each as soon as those before it have been yielded."""
    done: dict[int, Answer] = {}
    following = 0
    for index, answer in answers:
        if answer.done:
            done[index] = answer
        while following in done:
            yield done.pop(following)
            following += 1
    assert following == n


def _record(answer: Answer, doing: Intervention, layout: Layout) -> dict[str, Any]:
    from rhat.scoring import judge_answers

    without, with_ = judge_answers([answer.prompt] * 2, [answer.judged[side] for side in SIDES])
    return {
        "prompt": answer.prompt,
        "without": answer.without,
        "with": answer.with_,
        "without_refused": without == "refused",
        "with_refused": with_ == "refused",
        "finish": {"without": answer.reasons["without"], "with": answer.reasons["with_"]},
        "intervention": doing.describe(layout),
    }


def _plain(answer: Answer, op: str) -> str:
    return f"# {answer.prompt}\n\n## without\n\n{answer.without}\n\n## {op}\n\n{answer.with_}\n"


def _live(answers: Iterator[tuple[int, Answer]], n: int, op: str) -> None:
    """Two growing columns for the first unfinished prompt; finished prompts stay above."""
    from rich.live import Live

    console = out()
    latest: dict[int, Answer] = {}
    current = 0
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        for index, answer in answers:
            latest[index] = answer
            while current in latest and latest[current].done:
                console.print(_columns(latest.pop(current), op))
                current += 1
            if current in latest:
                live.update(_columns(latest[current], op, height=max(console.height - 4, 8)))
            elif current == n:
                live.update("")


def _columns(answer: Answer, op: str, height: int | None = None) -> RenderableType:
    """An answer as two columns. If `height` is given and the answer is too long for it, only the end is shown."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.ROUNDED, expand=True, title=Text(answer.prompt), title_justify="left", title_style="bold")
    grid.add_column("without", ratio=1, overflow="fold")
    grid.add_column(op, ratio=1, overflow="fold")
    cells = [answer.without, answer.with_]
    if height is not None:
        width = max(out().width // 2 - 4, 10)
        room = width * max(height - 5, 3)
        cells = ["…" + text[-room:] if len(text) > room else text for text in cells]
    grid.add_row(*map(Text, cells))
    return grid
