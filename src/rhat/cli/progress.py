"""Progress on stderr: a bar with the stage and the time left, one for the whole where that was told, or lines if there is no
terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rhat.cli.console import err

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

    from rhat.selection.told import Told

EVERY = 15.0  # seconds between lines of one stage where there is no terminal


class Report(Protocol):
    """Progress callback of the library: the stage, how much is done, and the total."""

    def __call__(self, stage: str, done: int | float, total: int | float) -> None:
        """Report that `done` of `total` are done."""


@contextmanager
def progress(quiet: bool = False) -> Iterator[Report]:
    """Show progress during the `with` block. Completed stages leave a line with their duration."""
    if quiet:
        yield lambda stage, done, total: None
    elif not err().is_terminal:
        yield Lines()
    else:
        with bar() as shown:
            stages = Bars(shown)
            yield stages
            stages.finish()


def announce(report: Report, told: Told) -> None:
    """Say how long the work will take, and show from now on how much of it is left."""
    err().print(told.sentence(), markup=False, soft_wrap=True)
    if isinstance(report, Bars | Lines):
        report.told = told


@contextmanager
def bar() -> Iterator[Progress]:
    """Rich's progress display on stderr, removed at the end of the `with` block."""
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Left(TimeRemainingColumn):
        """The time left: of the whole, what was told of it; of a stage, what its pace so far gives."""

        def render(self, task: Task) -> Text:
            told = task.fields.get("told")
            if told is None:
                return super().render(task).append(" left")
            return Text(left_of(told), "progress.remaining")

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        Left(),
    )
    with Progress(*columns, console=err(), transient=True, refresh_per_second=4) as shown:
        yield shown


class Bars:
    """One bar at a time, for the stage that is running, and one for the whole once `told` is set."""

    def __init__(self, shown: Progress) -> None:
        self.shown = shown
        self.told: Told | None = None
        self.whole: TaskID | None = None
        self.stage = ""
        self.task: TaskID | None = None
        self.began = 0.0
        self.clock = time.monotonic

    def __call__(self, stage: str, done: int | float, total: int | float) -> None:
        """The library's callback."""
        from rich.markup import escape

        if self.task is None or stage != self.stage:
            self.finish()
            self.stage, self.began = stage, self.clock()
            self.task = self.shown.add_task(escape(stage), total=total)
        self.shown.update(self.task, completed=done, total=total)
        if self.told is not None:
            self.told.reached(stage)
            if self.whole is None:
                self.whole = self.shown.add_task("all", total=1.0, told=self.told)
            self.shown.update(self.whole, completed=self.told.done())

    def finish(self) -> None:
        """Remove the bar, and leave a line for a stage that took a second or more."""
        from rich.markup import escape

        if self.task is None:
            return
        self.shown.remove_task(self.task)
        self.task = None
        if (seconds := self.clock() - self.began) >= 1:
            self.shown.console.print(f"[green]✓[/green] {escape(self.stage)} [dim]{duration(seconds)}[/dim]")


class Lines:
    """For logs and pipes: a line when a stage begins and at intervals while it runs."""

    def __init__(self) -> None:
        self.stage = ""
        self.began = self.said = 0.0
        self.told: Told | None = None

    def __call__(self, stage: str, done: int | float, total: int | float) -> None:
        """The library's callback."""
        now = time.monotonic()
        if self.told is not None:
            self.told.reached(stage)
        if stage != self.stage:
            self.stage, self.began, self.said = stage, now, now
            self._say(f"{stage} …")
        elif done < total and now - self.said >= EVERY and done > 0:
            self.said = now
            left = (now - self.began) * (total - done) / done
            whole = "" if self.told is None else f"; {left_of(self.told, ' of all')}"
            self._say(f"{stage}: {100 * done / total:.0f} %, {duration(left)} left{whole}")

    def _say(self, text: str) -> None:
        err().print(text, markup=False, soft_wrap=True)


def left_of(told: Told, what: str = "") -> str:
    """The time left of all that was told, such as "3:05 left"; where it is used up and work goes on, that it takes longer."""
    left = told.left()
    return f"{duration(left)} left{what}" if left >= 0.5 else "longer than was told"


def duration(seconds: int | float) -> str:
    """Seconds as "8 s" or "3:05"."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
