"""Run docs/notebook.ipynb on the default model and keep what it puts out: `python docs/notebook.py`.

The cells are edited in the notebook itself; this runs them in order in a new kernel and writes the outputs, without what changes
from run to run. The cell tagged "parameters" names the model and the prompts; a test runs the others on a tiny model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent / "notebook.ipynb"


def executed(notebook: Any, folder: Path = NOTEBOOK.parent, timeout: int = 1800) -> Any:
    """The notebook with the outputs of a run in `folder`.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


def parameters(notebook: Any) -> Any:
    """The cell that names the model and the prompts."""
    return next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))


def kept(notebook: Any) -> Any:
    """The notebook without times, kernels' details and outputs that were emptied, such as a progress bar's."""
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("data", {}).get("text/html") != ""]
    return notebook


def main() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.write(kept(executed(notebook)), NOTEBOOK)


if __name__ == "__main__":
    main()
