"""The requests that docs/serving.md and docs/guard.md show run as they stand, against a tiny model; programs: see test_shown_python.py."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from serving import running

from rhat.server import Settings

DOCS = Path(__file__).parents[2] / "docs"


def requests(name):
    return re.findall(r"```bash\n(.*?)```", (DOCS / name).read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def up(tiny_model, directions, calibrations):
    with running(
        tiny_model,
        {"direction": directions["r"], "other": directions["other"]},
        Settings(playground=False, max_length=400),
        {"direction": calibrations["r"]},
    ) as server:
        yield server


CURLS = [*requests("serving.md"), *requests("guard.md")]


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


def test_there_are_examples():
    assert len(CURLS) == 3


def test_every_option_of_the_command_is_known_to_the_page():
    import inspect

    from rhat.cli.serve import serve

    said = (DOCS / "serving.md").read_text("utf-8")
    spelled = set(re.findall(r"--[a-z][a-z-]+", said))
    parameters = inspect.signature(serve).parameters
    known = {f"--{name.replace('_', '-')}" for name in parameters} | {"--help", "--no-playground", "--fpr"}
    known |= {"--model", "--tasks", "--batch"}  # lm-eval's
    assert spelled <= known | {"--dtype"}, spelled - known
