"""The study that the README shows: complete, drawn as stored, and every number of it computed again from what it kept."""

import json

import pytest

import studies
from rhat import report
from rhat import results as contract
from rhat.questions import QUESTIONS
from rhat.report import drawings
from rhat.report.verdicts import verdicts
from rhat.verification import verify


@pytest.fixture(scope="module")
def example():
    return contract.load(studies.EXAMPLE)


def test_it_is_of_the_newest_schema_and_nothing_in_it_was_changed(example):
    written = json.loads((studies.EXAMPLE / "results.json").read_text("utf-8"))
    assert written["schema_version"] == contract.SCHEMA_VERSION
    assert example.settings["preset"] == "standard"
    found = verify(studies.EXAMPLE)
    assert sum(found.checked.values()) > 2_000
    assert not {"rates", "comparisons", "primary"} & set(found.unchecked)


def test_every_question_is_answered_and_every_figure_drawn(example):
    assert tuple(verdicts(example)) == tuple(question.key for question in QUESTIONS)
    assert [d.name for d, _ in drawings.drawn(example)] == [d.name for d in drawings.FIGURES]


def test_its_figures_are_those_that_are_stored(tmp_path):
    (tmp_path / "results.json").write_bytes((studies.EXAMPLE / "results.json").read_bytes())
    drawn = {path.name: path.read_bytes() for path in report.draw(tmp_path)[1:]}
    assert drawn == {path.name: path.read_bytes() for path in (studies.EXAMPLE / "figures").iterdir()}


def test_no_answer_to_a_harmful_prompt_is_in_it():
    frame = contract.per_prompt(studies.EXAMPLE)
    assert "text" not in frame
    assert not (studies.EXAMPLE / "completions.jsonl").exists()
