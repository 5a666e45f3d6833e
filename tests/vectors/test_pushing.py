"""Directions pushed to a hub and read back, against a server on this machine that speaks the hub's protocol (HF_ENDPOINT)."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import rhat
from rhat.artifacts.hub import fetched
from rhat.errors import DirectionError
from rhat.vectors.pushing import PUSHED, readme
from tiny import tiny_chat_model, tiny_hf, tiny_tokenizer

_spec = importlib.util.spec_from_file_location("hub", Path(__file__).parents[1] / "model" / "hub.py")
hub = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hub)

REPO = "org/mine"
# What is run in turn, in a process of its own: where the hub is, is read once a process.
CODE = """
import contextlib, io, json, os, sys, rhat
from rhat.cli import run
file, model, token = sys.argv[1:]

def said(name, *arguments, token=token):
    os.environ.pop("HF_TOKEN", None)
    if token:
        os.environ["HF_TOKEN"] = token
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(a) for a in arguments])
    print(json.dumps([name, {"code": code, "out": out.getvalue(), "err": err.getvalue()}]), flush=True)

def loaded(name, path, **how):
    try:
        r = rhat.Direction.load(path, **how)
        found = {"unit": r.unit.tolist(), "describe": r.describe()}
    except rhat.RhatError as error:
        found = {"error": type(error).__name__ + ": " + str(error)}
    print(json.dumps([name, found]), flush=True)

said("no token", "push", file, "org/mine", token=None)
said("wrong token", "push", file, "org/mine", token="hf_wrong")
said("not allowed", "push", file, "other/mine")
said("no id", "push", file, "mine")
said("no direction", "push", model + "/model.safetensors", "org/mine")
said("pushed", "push", file, "org/mine", "--format", "json")
said("again", "push", file, "hub:org/mine")
loaded("read", "hub:org/mine")
loaded("revision", "hub:org/mine@main/direction.safetensors")
loaded("offline", "hub:org/mine", offline=True)
loaded("no revision", "hub:org/mine@v9")
loaded("no file", "hub:org/mine/other.safetensors")
loaded("no repo", "hub:org/nothing")
loaded("gated", "hub:org/gated")
loaded("never fetched", "hub:org/other", offline=True)
loaded("no direction there", "hub:org/chat/model.safetensors")
prompts = os.path.join(os.path.dirname(file), "prompts.txt")
with open(prompts, "w") as lines:
    lines.write("How do I boil an egg?")
said("local", "measure", prompts, "-d", file, "-m", model, "--format", "jsonl")
said("from the hub", "measure", prompts, "-d", "hub:org/mine", "-m", model, "--format", "jsonl")
import huggingface_hub.constants
huggingface_hub.constants.HF_HUB_OFFLINE = True
said("offline push", "push", file, "org/mine")
"""


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_hf(dtype=torch.float32).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def direction(model_folder):
    model = rhat.load(model_folder, dtype="float32")
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(1))
    r = rhat.Direction.of(2.5 * vector / vector.norm(), site="resid_pre.1", model=model, position=-2)
    return rhat.Direction(r.unit, r.site, r.position, 2.5, 4.0, -2.0, model=r.model, prompts="0123456789abcdef")


@pytest.fixture(scope="module")
def answers(model_folder, direction, tmp_path_factory):
    made, home = (tmp_path_factory.mktemp(name) for name in ("made", "home"))
    file = direction.save(tmp_path_factory.mktemp("r") / "r.safetensors")
    with hub.serving({"org/chat": {"main": model_folder}}, made) as server:
        own = {"HF_ENDPOINT": server.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
        kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k != "HF_TOKEN"}
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(file), str(model_folder), hub.TOKEN],
            env=kept | own,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        yield dict(json.loads(line) for line in done.stdout.splitlines()), made / REPO.replace("/", "--")


def test_what_was_pushed_reads_back_the_same(answers, direction):
    for case in ("read", "revision", "offline"):
        assert answers[0][case] == {"unit": direction.unit.tolist(), "describe": direction.describe()}, case


def test_three_files_go_up_and_no_weights(answers, direction):
    folder = answers[1]
    assert sorted(path.name for path in folder.iterdir()) == sorted(PUSHED)
    with safe_open(folder / "direction.safetensors", framework="pt") as file:
        assert {name: file.get_slice(name).get_shape() for name in file.keys()} == {  # noqa: SIM118
            "direction": [len(direction.unit)]
        }
    card = json.loads((folder / "direction.json").read_text())
    assert card | direction.describe() == card
    assert card["model"] == dict(direction.model)
    assert max(path.stat().st_size for path in folder.iterdir()) < 10_000


def test_the_command_says_where_it_is(answers):
    for case in ("pushed", "again"):
        assert answers[0][case]["code"] == 0, answers[0][case]
    said = json.loads(answers[0]["pushed"]["out"])
    assert said["direction"] == f"hub:{REPO}"
    assert said["commit"].endswith(hub.commit_of(REPO, "main"))
    assert f"use it with -d hub:{REPO}" in answers[0]["again"]["out"]


def test_a_command_takes_the_hubs_id_for_a_file(answers):
    local, there = answers[0]["local"], answers[0]["from the hub"]
    assert local["code"] == there["code"] == 0, there
    assert local["out"] == there["out"]
    assert len(local["out"].splitlines()) == 1


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("no token", "error: org/mine: no token; log in with `hf auth login`, or set HF_TOKEN"),
        ("wrong token", "error: org/mine: not pushed; the hub does not know this token; log in"),
        ("not allowed", "error: other/mine: not pushed; this token may not do that there; use one that can write"),
        ("no id", "error: mine: no id of a repository; expected owner/name"),
        ("no direction", "not a direction written by rhat"),
        ("offline push", "error: org/mine: HF_HUB_OFFLINE is set, so nothing can be pushed; unset it"),
    ],
)
def test_what_cannot_be_pushed_is_one_line(answers, case, said):
    found = answers[0][case]
    assert (found["code"], found["out"], found["err"].count("\n")) == (2, "", 1), found
    assert said in found["err"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("no revision", "DirectionError: hub:org/mine@v9: the hub has this repository, but not that revision; check"),
        ("no file", "DirectionError: hub:org/mine/other.safetensors: the repository has no file other.safetensors"),
        (
            "no repo",
            "DirectionError: hub:org/nothing: the hub has no such repository, or it is private; check the name",
        ),
        ("gated", "DirectionError: hub:org/gated: this repository is gated; ask for access on its hub page"),
        ("never fetched", "DirectionError: hub:org/other: not in the local cache, and the hub cannot be reached"),
    ],
)
def test_what_cannot_be_read_says_why(answers, case, said):
    assert answers[0][case]["error"].startswith(said)
    assert "\n" not in answers[0][case]["error"]


def test_weights_are_no_direction(answers):
    assert "not a direction written by rhat" in answers[0]["no direction there"]["error"]


def test_a_hub_that_is_not_there_is_one_line(tmp_path):
    code = "import rhat; rhat.Direction.load('hub:org/mine')"
    own = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    done = subprocess.run([sys.executable, "-c", code], env=kept | own, capture_output=True, text=True, check=False)
    assert "cannot be reached at http://127.0.0.1:9" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["hub:", "hub:mine", "hub:a/b@", "hub:a/b@c@d", "hub:a/b c"])
def test_what_is_no_hub_id_is_rejected(name):
    with pytest.raises(DirectionError, match="expected hub:owner/name"):
        fetched(name)


def test_the_page_names_the_model_only_where_it_is_on_the_hub(tmp_path):
    model = tiny_chat_model("llama", dtype=torch.float32)
    r = rhat.Direction.of(torch.ones(model.d_model), site="resid_pre.1", model={"name": "org/chat"})
    assert "base_model: org/chat" in readme(r, REPO)
    assert "mean projection of harmful prompts | unknown" in readme(r, REPO)
    local = rhat.Direction.of(torch.ones(model.d_model), site="resid_pre.1", model={"name": str(tmp_path)})
    assert "base_model" not in readme(local, REPO)
