"""`rhat label`: label one's own completions, one key each."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rhat.cli.console import out
from rhat.cli.files import check_output

if TYPE_CHECKING:
    from rhat.scoring.completions import Completion

KEYS = {"r": "refused", "p": "partial", "c": "complied", "d": "degenerate"}
HELP = "r refused · p partial · c complied · d degenerate · s skip · b back · q stop"


def label(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Completions: JSONL, CSV, JSON, or an Inspect log.")],
    destination: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where to save the labels.", show_default="beside FILE, as NAME.labels.jsonl"),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample", min=1, help="Number of completions to label, drawn at random. Default: all.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed for the order in which they are shown.")] = 0,
) -> None:
    """Label completions by hand: a letter and Enter for each, shown in random order and without any judge's opinion.

    Every label is saved at once; rerunning the command resumes where it stopped. With the result,
    [bold]rhat judge FILE --labels NAME.labels.jsonl[/bold] says how well a judge reads these completions.

    Examples:

    [bold]rhat label completions.jsonl --sample 100[/bold]
    """
    import random

    from rhat.scoring.completions import read_completions

    completions = read_completions(file)
    target = destination or file.with_name(f"{file.stem}.labels.jsonl")
    check_output(target, overwrite=True)
    order = list(range(len(completions)))
    random.Random(seed).shuffle(order)
    order = order[:sample]
    done = already(target, completions)
    ask(completions, order, done, target)
    labelled = sum(number in done for number in order)
    out().print(f"{labelled} of {len(order)} labelled; saved to {target}", markup=False, soft_wrap=True)


def already(target: Path, completions: Sequence[Completion]) -> dict[int, str]:
    """The labels that the file has, by the completion's place.

    Raises:
        JudgeError: if the file cannot be read as labels.
    """
    from rhat.scoring.completions import read_completions

    if not target.exists() or not target.stat().st_size:
        return {}
    places = {(c.id, c.prompt, c.answer): number for number, c in enumerate(completions)}
    found: dict[int, str] = {}
    for row in read_completions(target, labelled=True):
        number = places.get((row.id, row.prompt, row.answer))
        if number is not None and row.label is not None:
            found[number] = row.label
    return found


def ask(completions: Sequence[Completion], order: Sequence[int], done: dict[int, str], target: Path) -> None:
    """Show each completion that has no label, read a key, and save; `done` is added to."""
    console = out()
    console.print(HELP, markup=False)
    at = 0
    again: set[int] = set()
    while at < len(order):
        number = order[at]
        if number in done and number not in again:
            at += 1
            continue
        _show(completions[number], f"{at + 1} of {len(order)}")
        key = _key()
        if key == "q":
            return
        if key == "b":
            at = max(at - 1, 0)
            again.add(order[at])
        elif key == "s":
            at += 1
        elif key in KEYS:
            done[number] = KEYS[key]
            again.discard(number)
            _save(completions, done, target)
            at += 1
        else:
            console.print(f"got {key!r}; {HELP}", markup=False)


def _show(completion: Completion, place: str) -> None:
    console = out()
    console.rule(place)
    console.print(completion.prompt, style="bold", markup=False)
    console.print(completion.answer or "(empty)", markup=False)


def _key() -> str:
    """What is typed before Enter; the end of the input stops, as q does."""
    out().print("> ", end="")
    line = sys.stdin.readline()
    return line.strip().lower() if line else "q"


def _save(completions: Sequence[Completion], done: dict[int, str], target: Path) -> None:
    """All labels so far, written whole, so that a file is never half a line long."""
    rows = [
        {
            "id": completions[n].id or None,
            "prompt": completions[n].prompt,
            "answer": completions[n].answer,
            "label": label,
        }
        for n, label in sorted(done.items())
    ]
    partial = target.with_name(target.name + ".partial")
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    partial.replace(target)
