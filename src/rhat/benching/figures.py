"""The figures of a bench: refusal against damage, and differences from the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rhat.artifacts.files import replace_text
from rhat.benching.document import BenchResults
from rhat.benching.making import REFERENCE, kl_of
from rhat.benching.settings import TASKS
from rhat.benching.words import DOING, called
from rhat.display import canvas, static
from rhat.display.wording import PROMPTS, asked, inside
from rhat.gauges.figure import plane

TONES = {
    "reference": canvas.GREEN,
    "finder": canvas.HARMLESS,
    "rule": canvas.BORDERLINE,
    "operator": canvas.AMBER,
    "prompting": canvas.HARMFUL,
    "control": canvas.GREY,
    "none": canvas.GREY,
}
NAMES = {
    "reference": "Difference of means",
    "finder": "Other finders",
    "rule": "Selection rules",
    "operator": "Operators on r̂",
    "prompting": "Asked in words",
    "control": "Random directions",
    "none": "No edit",
}
SYMBOLS = {"reference": "diamond", "operator": "square", "control": "circle-open", "none": "circle-open"}


def frontier(found: BenchResults) -> Any | None:
    """Refusal rate against KL on the same test prompts, a panel for each task and kind of prompts; None where there are no rows.

    Both intervals are joint: together they hold at 95 %. A reference that was matched at several KL is joined by a line.
    """
    panels = [(task, label) for task in found.tasks for label in TASKS[task].tested]
    panels = [one for one in panels if any((row.task, row.prompts) == one for row in found.frontier)]
    if not panels:
        return None
    titles = [f"{DOING[task]}: {PROMPTS[label]} test prompts" for task, label in panels]
    figure = canvas.bare(
        "KL of the next token on test prompts (nats)",
        "Refusal rate",
        height=120 + 300 * len(panels),
        rows=len(panels),
        subplot_titles=titles,
    )
    for place, one in enumerate(panels, 1):
        for part in TONES:
            rows = [row for row in found.frontier if (row.task, row.prompts) == one and _part(row) == part]
            if not rows:
                continue
            rows.sort(key=lambda row: row.kl_mean)
            kl = [row.kl_mean for row in rows]
            mode = "lines+markers" if part in ("reference", "control") and len(rows) > 1 else "markers"
            trace = canvas.curve(
                kl, rows, canvas.RATE, NAMES[part], TONES[part], mode=mode, symbol=SYMBOLS.get(part, "circle"),
                text=[called(row.condition) for row in rows], legendgroup=part, showlegend=place == 1,
            )  # fmt: skip
            trace.update(error_x=canvas.error(kl, [r.kl_low for r in rows], [r.kl_high for r in rows], TONES[part]))
            figure.add_trace(trace, row=place, col=1)
        figure.update_yaxes(title_text="Refusal rate", tickformat=".0%", range=[-0.03, 1.03], row=place)
    return figure


def differences(found: BenchResults, task: str) -> Any | None:
    """Each edit against the difference of means at the same KL, by paired difference of refusal rates; None where there are none."""
    rows = [row for row in found.comparisons if row.question == TASKS[task].question]
    if not rows:
        return None
    several, labels = len(found.kl) > 1, len(TASKS[task].tested) > 1
    names = []
    for row in rows:
        said = [asked(kl_of(row.treatment) or 0.0)] * several + [PROMPTS[row.prompts]] * labels
        names.append(called(row.treatment) + (f" ({', '.join(said)})" if said else ""))
    return canvas.forest(names, rows, canvas.DIFFERENCE, [TONES[row.treatment.partition(":")[0]] for row in rows])


def write(found: BenchResults, path: Path) -> list[Path]:
    """Draw the figures beside bench.json, as bench.frontier.svg and one for each task; of the gauges bench.gauges.svg; gives their files.

    Raises:
        OSError: if one cannot be written.
    """
    drawn = [("frontier", frontier(found), "Refusal against damage, joint 95 % intervals")]
    drawn += [
        (task, differences(found, task), f"{DOING[task]}: against the {inside('Difference of means')} at the same KL")
        for task in found.tasks
    ]
    written = []
    for name, figure, title in drawn:
        if figure is not None:
            file = path.with_name(f"{path.stem}.{name}.svg")
            replace_text(file, static.to_svg(figure, title))
            written.append(file)
    if found.gauges is not None:
        file = path.with_name(f"{path.stem}.gauges.svg")
        replace_text(file, plane(found.gauges))
        written.append(file)
    return written


def _part(row: Any) -> str:
    """What a row of the frontier is drawn as."""
    return "reference" if row.condition.partition("@")[0] == REFERENCE else row.part
