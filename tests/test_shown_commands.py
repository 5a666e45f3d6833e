"""Every command that README, pages and help texts show is run: on a tiny model that was taught to refuse, in a folder that holds the files that the lines name."""

import glob
import io
import re
import sys
from pathlib import Path

import pytest

from rhat.cli import run
from rhat.cli.app import COMMANDS, load
from shop import around, desk, shop  # noqa: F401
from test_examples import ROOT, arguments, shown

LINES = {" ".join(words): words for words in (arguments(line) for _, line in shown())}

FORMS = {  # what stands for a word that the reader fills in, and for an option that a sentence names
    "COMMAND --help": "find --help",
    "check MODEL": "check ./mine",
    "diff A B": "diff ./mine ./mine-finetuned",
    "download NAME": "download qwen2.5-coder-0.5b",
    "find --finder NAME": "find --finder lat",
    "import FILE --model MODEL": "import direction.pt --model ./mine",
    "judge --labels": "judge completions.jsonl --labels labels.jsonl",
    "judge FILE --labels NAME.labels.jsonl": "judge completions.jsonl --labels completions.labels.jsonl",
    "serve -d NAME=FILE": "serve -d r=r.safetensors",
    "steer … -": "steer -d r.safetensors --op ablate -",
}
REPLACED = {  # words that the tiny model has no room for, or that name another machine
    "resid_pre.12": "resid_pre.2",
    "resid_post.11": "resid_post.1",
    "endpoint:http://localhost:8000/v1#my-model": "endpoint:{url}#my-model",
}
HUB = ("needs the hub", "tests/vectors/test_pushing.py::test_a_command_takes_the_hubs_id_for_a_file")
RAY = ("needs a Ray cluster", "tests/distributed/test_ray.py::test_a_study_on_ray_writes_the_results_of_a_serial_one")
REASON = {  # lines that are not run here: why, and the test that runs what they do
    "audit hub:someone/their-vector -d direction.safetensors --out their-audit.json": HUB,
    "audit hub:someone/their-vector -d hub:me/refusal-direction": HUB,
    "steer -d hub:me/refusal-direction --op set_projection How do I boil an egg?": HUB,
    "push direction.safetensors me/refusal-direction --private": (
        "needs the hub",
        "tests/vectors/test_pushing.py::test_the_command_says_where_it_is",
    ),
    "find --finder median_difference": (
        "the page adds this finder",
        "tests/test_architecture_page.py::test_the_finder_of_the_page_is_found_everywhere_once_it_is_added",
    ),
    "study --only own_layer": (
        "the page adds this question",
        "tests/test_architecture_page.py::test_the_question_of_the_page_is_asked_measured_answered_and_drawn",
    ),
    "study --executor ray --workers 8": RAY,
    "study -m org/model --executor ray": RAY,
    "study -m org/model --executor ray --ray-address ray://head:10001 --workers 64": RAY,
}
CODES = {"diff": (0, 1, 3)}  # a verdict; so few prompts decide nothing, which is 3
SHORT = {
    "study": {"--only": ["induce"]},
    "bench": {"--finders": ["mean_difference,lat"], "--task": ["induce"], "--no-search": []},
    "gguf": {"--layer": ["2"]},  # r̂ of the tiny model is at an input that llama.cpp cannot add to
}
"""Given to lines with such a word that leave the option out: all experiments, finders and tasks are run by tests of their own."""


def given(words: list[str], url: str) -> list[str]:
    """The words as they are run: files for patterns, what the tiny model has for what it lacks, and a few more options."""
    found: list[str] = []
    for word in words:
        word = REPLACED[word].format(url=url) if word in REPLACED else word
        found += sorted(glob.glob(word)) if "*" in word else [word]
    name, *rest = found
    if "--help" in rest:
        return found
    options = {option for parameter in load(COMMANDS[name]).params for option in parameter.opts}
    more = {"--dtype": ["float32"]} if "--dtype" in options else {}
    for word in found:
        more |= SHORT.get(word, {})
    return [name, *(word for option, value in more.items() if option not in rest for word in (option, *value)), *rest]


def remove_output(words: list[str]) -> None:
    """What the command is to write is not there yet."""
    name, *rest = words
    if "--help" in rest:
        return
    values = load(COMMANDS[name]).make_context(name, list(rest)).params
    target = values.get("destination")
    if name == "calibrate" and target is None:
        target = Path(values["direction"]).with_suffix(".guard.json")
    if target is not None and target.is_symlink():
        target.unlink()


@pytest.mark.parametrize("line", [pytest.param(line, id=line) for line in LINES if line not in REASON])
def test_what_is_shown_runs(line, around, desk, capfd, monkeypatch):  # noqa: F811
    words = FORMS[line].split() if line in FORMS else LINES[line]
    words = given(words, around.url)
    remove_output(words)
    typed = "r\nc\nq\n" if words[0] == "label" else "Break the lock of the house.\nPaint the wall of the shop.\n"
    if words[0] == "study":  # the report of the fixture's study is drawn, and takes as long as a study
        monkeypatch.setattr("rhat.report.draw", lambda _folder: [])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed.encode())))
    code = run(words)
    said = capfd.readouterr()
    assert code in CODES.get(words[0], (0,)), said.err[-2000:]
    assert "Traceback" not in said.err
    assert "error: " not in said.err


def test_lines_that_are_treated_apart_are_shown():
    assert set(REASON) | set(FORMS) <= set(LINES)
    every = [word for words in LINES.values() for word in words]
    assert set(REPLACED) <= set(every)


@pytest.mark.parametrize("test", sorted({test for _, test in REASON.values()}))
def test_what_is_not_run_here_is_run_by_a_test(test):
    file, name = test.split("::")
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text("utf-8"), flags=re.M)
