"""The report: results.json drawn as one self-contained page and as SVG figures. It needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rhat import results as contract
from rhat.artifacts.files import replace_text
from rhat.errors import ArtifactError

if TYPE_CHECKING:
    from rhat.artifacts.run import Results
    from rhat.questions.question import Figure
    from rhat.report.comparison import Run

__all__ = ["compare", "draw", "figure"]


def draw(folder: Path | str) -> list[Path]:
    """Redraw report.html and figures/*.svg from `folder`/results.json. Returns the files, the page first.

    Each file is replaced whole or not at all. Figures that these results do not have are removed.

    Raises:
        ArtifactError: if the results cannot be read or the files not be written.
    """
    from rhat.display import static
    from rhat.report import drawings, page

    folder = Path(folder)
    measured = contract.load(folder)
    drawn = drawings.drawn(measured)
    files = {folder / "report.html": page.render(measured, drawn, [path.name for path in folder.iterdir()])}
    for drawing, figure in drawn:
        files[folder / "figures" / f"{drawing.name}.svg"] = static.to_svg(figure, drawing.title)
    _write(files)
    for drawing in drawings.FIGURES:
        path = folder / "figures" / f"{drawing.name}.svg"
        if path not in files:
            path.unlink(missing_ok=True)
    return list(files)


def figure(results: Results | Path | str, name: str) -> Figure:
    """One of the report's figures, by the name of its file in `figures/`: a Plotly figure, which notebooks show.

    `results` is a run as `rhat.results.load` gives it, or a study's folder.

    Raises:
        ArtifactError: if there is no such figure, or the run has no numbers for it; it lists those that can be drawn.
    """
    from rhat.report import drawings

    run = contract.load(results) if isinstance(results, Path | str) else results
    drawn = {drawing.name: made for drawing, made in drawings.drawn(run)}
    if name not in drawn:
        raise ArtifactError(f"figure {name!r}: this run has {', '.join(drawn) or 'no figures'}")
    return drawn[name]


def compare(folders: Sequence[Path | str], out: Path | str | None = None) -> list[Run]:
    """Compare the runs in `folders` side by side; with `out`, also write the comparison there as one self-contained page.

    Raises:
        ArtifactError: if a folder has no readable results, or the page cannot be written.
    """
    from rhat.report import comparison

    compared = comparison.runs(folders)
    if out is not None:
        _write({Path(out): comparison.render(compared)})
    return compared


def _write(files: dict[Path, str]) -> None:
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, text)
        except OSError as error:
            raise ArtifactError(
                f"{path}: cannot be written ({error.strerror or error}); free some space or change the folder"
            ) from error
