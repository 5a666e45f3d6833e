"""The researcher's hour: docs/notebook.ipynb as it stands, on a tiny model that was taught to refuse; only the cell of parameters differs."""

import importlib.util
from pathlib import Path

import pytest

from studies import arguments

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
DOCS = Path(__file__).parents[1] / "docs"


def module():
    spec = importlib.util.spec_from_file_location("notebook", DOCS / "notebook.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The notebook's cells with what they put out on the tiny model, by their first words."""
    folder = tmp_path_factory.mktemp("notebook")
    given = arguments(folder)
    notebook = nbformat.read(DOCS / "notebook.ipynb", as_version=4)
    made = module()
    made.parameters(notebook).source = (
        f"import rhat\nMODEL = {given['model']!r}\nPROMPTS = rhat.prompts.read({given['harmful']!r}, {given['harmless']!r})\n"
        "SETTINGS = rhat.FindSettings()"
    )
    return made.executed(notebook, timeout=300)


def said(notebook, start):
    """The text that a cell's outputs show."""
    cell = next(cell for cell in notebook.cells if cell.source.startswith(start))
    return "\n".join("".join(one.get("text", one.get("data", {}).get("text/plain", ""))) for one in cell.outputs)


def test_the_hour_reaches_its_goal(run):
    assert "Direction(" in said(run, "found = rhat.find")
    assert "{'before': 12, 'r̂ ablated': 0, 'of': 12}" in said(run, "from rhat.scoring")
    answers = said(run, "before = model")
    assert (
        answers.count("Glad to help.") == 2
    )  # before; with r̂ set, and under a system prompt that it has not seen, it answers otherwise
    assert "1.0" in said(run, "import tempfile")
    assert any(
        "image/png" in one.get("data", {}) for cell in run.cells if cell.cell_type == "code" for one in cell.outputs
    )


def test_the_search_shows_how_far_it_is_and_nothing_is_noise(run):
    """No bar of tqdm, no warning, no advice to install a widget: nothing but what a cell gives."""
    [found] = [cell for cell in run.cells if cell.source.startswith("found = rhat.find")]
    shown = [one for one in found.outputs if one.output_type == "display_data"]
    assert [one["data"]["text/html"] for one in shown] == [""]  # the bar, emptied at the end
    streams = [
        one for cell in run.cells if cell.cell_type == "code" for one in cell.outputs if one.output_type == "stream"
    ]
    assert streams == []


def test_what_is_committed_is_no_part_of_a_run():
    """Outputs are those of all cells in their order, on the default model, or there are none."""
    notebook = nbformat.read(DOCS / "notebook.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if any(counts):
        assert counts == list(range(1, len(code) + 1)), "run docs/notebook.py"
        assert "qwen2.5-coder-0.5b" in "".join(str(one) for cell in code for one in cell.outputs)
    else:
        assert not any(cell.outputs for cell in code)


def test_a_cell_shows_a_bar_that_moves_and_is_gone_at_the_end(monkeypatch):
    import IPython.display

    from rhat.selection import watching

    shown = []

    class Handle:
        def update(self, what):
            shown.append(what.data)

    monkeypatch.setattr(IPython.display, "display", lambda what, display_id: Handle())
    monkeypatch.setattr(watching, "PAUSE", 0.0)
    with watching._in_a_cell() as tell:
        tell("activations", 1, 2)
        tell("<b>", 2, 2)
    assert '<progress value="1" max="2"></progress> 1 of 2' in shown[0]
    assert "&lt;b&gt;" in shown[1]
    assert shown[-1] == ""
