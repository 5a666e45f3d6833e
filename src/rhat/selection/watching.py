"""Progress where somebody watches: a bar in terminals and notebooks, nothing in pipes and logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rhat.selection.settings import Progress, silent

if TYPE_CHECKING:
    from rich.progress import TaskID


@contextmanager
def watched() -> Iterator[Progress]:
    """A progress callback that shows one bar a stage on stderr, or in the notebook's cell; they are removed at the end."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield silent
        return
    with Bars(console=console, transient=True, refresh_per_second=4) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                for task in tasks.values():
                    bars.update(task, visible=False)
                tasks[stage] = bars.add_task(escape(stage), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield tell
