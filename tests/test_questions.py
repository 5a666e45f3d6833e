"""A question is a folder and a line: the table drives study, results, report, command line and documentation."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rhat.questions
from rhat import results
from rhat.artifacts.rows import Part
from rhat.questions import KEYS, QUESTIONS

FOLDER = Path(rhat.questions.__file__).parent


def test_every_folder_is_in_the_table_and_the_other_way_round():
    folders = {path.parent.name for path in FOLDER.glob("*/__init__.py")}
    assert folders == set(KEYS)
    assert tuple(question.key for question in QUESTIONS) == KEYS


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.key)
def test_a_question_is_whole(question):
    """Words, an experiment, a figure, and rows of its own, if it has any, that no other question has."""
    assert question.title
    assert question.asked
    assert question.how
    assert question.experiments
    assert question.figures
    if question.rows is None:  # the shared rows do
        return
    own = set(question.rows.model_fields) - set(Part.model_fields)
    assert own
    for other in QUESTIONS:
        if other is not question and other.rows is not None:
            assert not own & (set(other.rows.model_fields) - set(Part.model_fields))
    assert own <= set(results.schema()["properties"])


def test_names_of_experiments_are_told_once():
    names = [experiment.name for question in QUESTIONS for experiment in question.experiments]
    assert len(set(names)) == len(names)


def test_only_measure_needs_torch():
    """All questions can be read and drawn where torch is missing; a module beside `measure` that names it fails here."""
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None;"
        "import rhat.questions.contract, rhat.report.drawings, rhat.report.page"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for path in FOLDER.glob("**/*.py"):
        if path.name != "measure.py":
            imported = {
                name
                for node in ast.walk(ast.parse(path.read_text("utf-8")))
                for name in (
                    [node.module or ""] if isinstance(node, ast.ImportFrom) else
                    [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                )
            }  # fmt: skip
            heavy = ("torch", "transformers", "rhat.lab", "rhat.model", "rhat.interventions", "rhat.capture")
            assert not [name for name in imported if name.startswith(heavy) or name.endswith(".measure")], path
