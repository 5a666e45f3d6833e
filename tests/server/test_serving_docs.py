"""The examples of docs/serving.md and docs/guard.md run as they stand, against a tiny model."""

import contextlib
import io
import json
import re
import subprocess
from pathlib import Path

import pytest
from serving import running

from rhat.server import Settings

DOCS = Path(__file__).parents[2] / "docs"


def blocks(name, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / name).read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def up(tiny_model, directions, calibrations):
    with running(
        tiny_model,
        {"direction": directions["r"], "other": directions["other"]},
        Settings(playground=False, max_length=400),
        {"direction": calibrations["r"]},
    ) as server:
        yield server


CURLS = [*blocks("serving.md", "bash"), *blocks("guard.md", "bash")]


@pytest.mark.parametrize("command", CURLS)
def test_curl_commands(up, command):
    got = subprocess.run(
        ["bash", "-c", command.replace("http://127.0.0.1:8000", up.url)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer = json.loads(got.stdout)
    assert ("error" in answer) == ('"layer": 99' in command)
    if "error" in answer:
        assert answer["error"]["message"] == "resid_pre.99: this model has layers 0 to 2; the last is resid_pre.2"


@pytest.mark.parametrize("program", blocks("serving.md", "python"))
def test_client_programs(up, program):
    pytest.importorskip("openai", reason="the openai client is not installed")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(program.replace("http://127.0.0.1:8000", up.url), "docs/serving.md", "exec"), {})
    assert said.getvalue().strip()


@pytest.mark.parametrize("program", blocks("guard.md", "python"))
def test_library_programs(tiny_model, directions, calibrations, program, tmp_path, monkeypatch):
    import rhat

    directions["r"].save(tmp_path / "direction.safetensors")
    calibrations["r"].save(tmp_path / "direction.guard.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rhat, "load", lambda: tiny_model, raising=False)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(program, "docs/guard.md", "exec"), {})
    assert said.getvalue().strip()


def test_there_are_examples():
    assert len(CURLS) == 3
    assert len(blocks("serving.md", "python")) == 2
    assert len(blocks("guard.md", "python")) == 3


def test_every_option_of_the_command_is_known_to_the_page():
    import inspect

    from rhat.cli.serve import serve

    said = (DOCS / "serving.md").read_text("utf-8")
    spelled = set(re.findall(r"--[a-z][a-z-]+", said))
    parameters = inspect.signature(serve).parameters
    known = {f"--{name.replace('_', '-')}" for name in parameters} | {"--help", "--no-playground", "--fpr"}
    known |= {"--model", "--tasks", "--batch"}  # lm-eval's
    assert spelled <= known | {"--dtype"}, spelled - known
