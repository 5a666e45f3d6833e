"""Progress where somebody watches: a bar in terminals and notebooks, nothing in pipes and logs."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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
    if console.is_jupyter:  # rich's bars would need ipywidgets there
        with _in_a_cell() as told:
            yield told
        return
    if not console.is_terminal:
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


PAUSE = 0.25  # seconds between two updates of a cell


@contextmanager
def _in_a_cell() -> Iterator[Progress]:
    """One line in the notebook's cell with the stage, a bar and the count; the line is empty at the end."""
    from IPython.display import HTML, display

    handle: Any = display(HTML(""), display_id=True)
    stage_before, shown_at = "", 0.0

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal stage_before, shown_at
        now = time.monotonic()
        if stage == stage_before and now - shown_at < PAUSE and done < total:
            return
        stage_before, shown_at = stage, now
        bar = f'<progress value="{done}" max="{total or 1}"></progress> {done} of {total}'
        handle.update(HTML(f"<div>{html.escape(stage)} {bar}</div>"))

    try:
        yield tell
    finally:
        handle.update(HTML(""))
