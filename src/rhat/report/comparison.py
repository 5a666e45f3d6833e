"""Several runs side by side: rows of their main numbers, and one page that draws them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from rhat.artifacts.rows import Rate
from rhat.display import canvas, tables, wording
from rhat.display.tables import Table, text
from rhat.errors import ArtifactError
from rhat.questions.projections.rows import LayerAuroc
from rhat.questions.projections.rows import Rows as ProjectionRows
from rhat.questions.question import Drawing, Figure
from rhat.report import page
from rhat.report.judges import unpassed
from rhat.results import load

CONDITIONS = {
    "harmless": (
        "baseline",
        "set_projection",
        "add_average",
        "add_difference",
        "random_set_projection",
        "repe_add",
    ),
    "harmful": ("baseline", "ablate", "subtract"),
    "borderline": ("baseline", "set_harmless_mean", "ablate"),
    "twin": ("baseline", "set_harmless_mean", "ablate"),
}
TONES = (canvas.HARMLESS, canvas.HARMFUL, canvas.GREEN, canvas.BORDERLINE, canvas.AMBER, canvas.GREY)
SYMBOLS = ("circle", "square", "diamond")


@dataclass(frozen=True)
class Run:
    """The main numbers of one run. `rates` maps (condition, prompts) to the row of results.json."""

    name: str
    folder: Path
    model: str
    outcome: str
    layer: int | None
    position: int | None
    rates: dict[tuple[str, str], Rate]
    auroc: LayerAuroc | None
    judged: bool = True

    def cells(self) -> dict[str, str]:
        """The run as a row of text by column title; what it did not measure is left out."""
        cells = {"Run": self.name, "Model": self.model, "Outcome": self.outcome.replace("_", " ")}
        if self.layer is not None:
            cells["Layer, position"] = f"{self.layer}, {self.position}"
        if not self.judged:
            cells["Judge"] = "has not passed: no rate is a headline"
        for (condition, prompts), row in self.rates.items():
            cells[f"{wording.condition(condition)}, {prompts}"] = f"{wording.rate(row)}, n = {row.n}"
        if self.auroc:
            ends = wording.interval(self.auroc.ci_low, self.auroc.ci_high, digits=3)
            cells["AUROC"] = f"{wording.number(self.auroc.auroc, 3)} {ends}"
        return cells


def runs(folders: Sequence[Path | str]) -> list[Run]:
    """The main numbers of each folder's results.json.

    Raises:
        ArtifactError: if there is none to compare, or one cannot be read.
    """
    if not folders:
        raise ArtifactError("compare: got no folder; give two or more folders of finished studies")
    paths = [Path(folder) for folder in folders]
    made = [_run(path) for path in paths]
    names = [run.name for run in made]
    if len(set(names)) < len(names):  # folders of one name in different places
        made = [Run(**{**vars(run), "name": str(run.folder)}) for run in made]
    return made


def table(compared: Sequence[Run]) -> Table:
    """One column a run, one line a number."""
    cells = [run.cells() for run in compared]
    titles = [title for title in _ordered(cells) if title != "Run"]
    rows = [
        SimpleNamespace(title=title, **{f"run{i}": c.get(title, "") for i, c in enumerate(cells)}) for title in titles
    ]
    columns = [text("", "title")] + [text(run.name, f"run{index}") for index, run in enumerate(compared)]
    return tables.build("Runs side by side (rates are refusals, with 95% intervals)", rows, columns, collapsed=False)[0]


def render(compared: Sequence[Run]) -> str:
    """The page as HTML."""
    drawn = _figures(compared)
    return page.page(
        "compare.html",
        drawn,
        title=f"{wording.count(len(compared), 'run')} side by side",
        tables=[table(compared)],
        figures_list=page.plots(drawn, *(drawing.name for drawing, _ in drawn)),
    )


def _run(folder: Path) -> Run:
    results = load(folder)
    direction = results.direction
    wanted = [(condition, prompts) for prompts, names in CONDITIONS.items() for condition in names]
    return Run(
        name=folder.resolve().name if folder.is_dir() else folder.resolve().parent.name,
        folder=folder,
        model=results.model.name,
        judged=unpassed(results) is None,
        outcome=results.outcome,
        layer=direction.layer if direction else None,
        position=direction.position if direction else None,
        rates={key: row for key in wanted if (row := results.find_rate(*key))},
        auroc=next(iter(results.at_layer("auroc", results.part(ProjectionRows).auroc)), None),
    )


def _ordered(cells: Sequence[dict[str, str]]) -> list[str]:
    """Every title, in the order of the fullest run."""
    longest = max(cells, key=len)
    return list(dict.fromkeys([*longest, *(title for row in cells for title in row)]))


def _figures(compared: Sequence[Run]) -> list[tuple[Drawing, Figure]]:
    drawn = []
    for prompts, conditions in CONDITIONS.items():
        figure = _rates(compared, prompts, conditions)
        if figure is not None:
            alt = "One dot a run and condition, with 95% intervals."
            drawn.append((Drawing(f"rates_{prompts}", f"Refusal of {prompts} prompts", alt, lambda _: None), figure))
    return drawn


def _rates(compared: Sequence[Run], prompts: str, conditions: Sequence[str]) -> Figure | None:
    """Conditions down, one dot a run, a little apart from each other."""
    shown = [name for name in conditions if any((name, prompts) in run.rates for run in compared)]
    if not shown:
        return None
    figure = canvas.bare(canvas.RATE.title, height=130 + len(shown) * (18 + 14 * len(compared)))
    every = []
    for index, run in enumerate(compared):
        rows = [(place, run.rates[name, prompts]) for place, name in enumerate(shown) if (name, prompts) in run.rates]
        tone = TONES[index % len(TONES)]
        trace = canvas.dots(
            [canvas.spread(place, len(compared))[index] for place, _ in rows],
            [row for _, row in rows],
            canvas.RATE,
            [tone] * len(rows),
            run.name,
        )
        trace.update(marker_symbol=SYMBOLS[index % len(SYMBOLS)], error_x_color=tone)
        trace.update(hovertemplate="%{x:.1%} (n = %{customdata})")
        figure.add_trace(trace)
        every += [row for _, row in rows]
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(shown))),
        ticktext=[wording.condition(name) for name in shown],
        range=[len(shown) - 0.5, -0.5],
        showgrid=False,
    )
    canvas.scale(figure.update_xaxes, canvas.RATE, every)
    return figure
