"""Every command that README, pages and help texts show is run: on a tiny model that was taught to refuse, in a folder that holds the files that the lines name."""

import glob
import io
import json
import re
import sys
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from refusing import refusing_folder
from rhat.benching import settings as benching
from rhat.cli import run
from rhat.cli.app import COMMANDS, load
from rhat.model.catalogue import CATALOGUE, CONVERTER, DEFAULT, MARKER
from rhat.server import create_app
from rhat.vocabulary import PRESETS
from scoring.test_endpoint_judge import serving
from shop import builtin, write_completions, write_prompts, write_vectors
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
FOLDERS = ("mine", "my-model", "model", "large", "basque", "mine-finetuned", "model-int4", "lora")
HUB_NAME = "meta-llama/Llama-3.2-1B-Instruct"  # a folder of this name is what the hub's model would be


@pytest.fixture(scope="module")
def around(tmp_path_factory):
    """For all lines: the built-in prompts, presets and sizes are small, no server listens, a judge's endpoint is there."""
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch, serving() as endpoint:
        patch.setenv("RHAT_CACHE", str(folder / "cache"))
        patch.setenv("COLUMNS", "200")
        patch.setattr("rhat.prompts.builtin", builtin)
        patch.setattr("rhat.study.opening.builtin", builtin)
        patch.setattr("rhat.server.listening.serve", answered)
        for name in PRESETS:
            patch.setitem(PRESETS, name, small(name))
        for name in benching.SIZES:
            patch.setitem(
                benching.SIZES,
                name,
                replace(benching.SIZES[name], kl=(0.2,), searched=6, tested=8, borderline=4, randoms=3),
            )
        yield folder, endpoint


def answered(model, directions, settings, calibrations):
    """In place of listening on a port: the same application is asked once."""
    with TestClient(create_app(model, directions, settings, calibrations), base_url="http://127.0.0.1") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/v1/models").status_code == 200


def small(name: str):
    """A preset that takes a second."""
    few = {"headline": 10, "sweep": 6, "train": None, "validation": 8, "randoms": 4, "dealt": 2}
    return replace(PRESETS[name], **few, borderline=8, horizon=24)


@pytest.fixture(scope="module")
def shop(around):
    """The folder: models, prompts, directions and studies under the names that the lines give them."""
    folder, _ = around
    refusing_folder(folder / "mine")
    for name in (*FOLDERS[1:], HUB_NAME, f"cache/models/{CATALOGUE[DEFAULT].sha256[:16]}"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(folder / "mine")
    (folder / "mine" / MARKER).write_text(json.dumps({"converter": CONVERTER}))
    (folder / "docs").symlink_to(ROOT / "docs")
    write_prompts(folder)
    write_completions(folder)
    with chdir(folder):
        assert run(["study", "--only", "induce", "--dtype", "float32"]) == 0
        for name in ("small", "large", "mine"):
            (folder / "runs" / name).symlink_to(folder / "runs" / "default")
        for name in ("r", "direction", "mine"):
            (folder / f"{name}.safetensors").symlink_to(folder / "runs" / "default" / "direction.safetensors")
        write_vectors(folder)
        assert run(["calibrate", "-d", "direction.safetensors", "--dtype", "float32"]) == 0
    return folder


@pytest.fixture
def desk(shop, tmp_path, monkeypatch):
    """A folder of the line's own, in which everything is a link."""
    for path in shop.iterdir():
        if path.name not in ("runs", "cache"):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "runs").mkdir()
    for path in (shop / "runs").iterdir():
        (tmp_path / "runs" / path.name).symlink_to(path.resolve())
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
def test_what_is_shown_runs(line, around, desk, capfd, monkeypatch):
    words = FORMS[line].split() if line in FORMS else LINES[line]
    words = given(words, around[1].url)
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
