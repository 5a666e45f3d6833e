"""A fresh process prints rhat's own lines and no other library's: on import, on loading, for a name that is none."""

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

import rhat
from gguf_files import keys_of, tensors_of, tiny_of, write_gguf
from tiny import tiny_chat_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny model's folder and a direction's file."""
    folder = tmp_path_factory.mktemp("saved")
    model = tiny_chat_model("llama", n_layers=3)
    model.hf.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    direction = rhat.Direction.of(
        torch.ones(model.d_model), site="resid_pre.1", mean_harmful=1.0, mean_harmless=0.0, position=-1
    )
    direction.save(folder / "r.safetensors")
    return folder


def stderr_of(*arguments: str, given: str = "", **more: str) -> list[str]:
    """The lines that a fresh Python process prints to stderr."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_", "PYTHONWARNINGS"))}
    environment |= {"PYTHONPATH": str(Path(rhat.__file__).parents[1]), **more}
    done = subprocess.run(
        [sys.executable, *arguments], input=given, capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.stdout, done.stderr
    return done.stderr.splitlines()


def test_the_library_prints_nothing(saved):
    script = """
import sys, rhat
model = rhat.load(sys.argv[1])
with rhat.ablate(rhat.Direction.load(sys.argv[2])).on(model):
    print(model.generate(["Sing."], 4), rhat.logits(model, ["Sing."]).shape)
import torchao
"""
    assert stderr_of("-c", script, str(saved / "model"), str(saved / "r.safetensors")) == []


@pytest.mark.parametrize(
    ("arguments", "given"),
    [(("measure", "-m", "MODEL", "-d", "DIRECTION"), "Sing.\n"), (("check", "MODEL"), "")],
    ids=lambda one: one[0] if one else "",
)
def test_commands_print_their_own_lines_only(saved, arguments, given):
    known = {"MODEL": str(saved / "model"), "DIRECTION": str(saved / "r.safetensors")}
    lines = stderr_of("-m", "rhat", *(known.get(word, word) for word in arguments), given=given)
    assert lines[0] == f"loading {known['MODEL']} …"
    assert not [line for line in lines if not line.endswith(" …")], lines


def test_the_first_use_of_a_gguf_file_shows_no_bar_of_another_library(tmp_path):
    hf = tiny_of("llama")
    write_gguf(tmp_path / "model.gguf", "llama", keys_of("llama", hf), tensors_of("llama", hf))
    more = {"RHAT_CACHE": str(tmp_path / "cache")}
    lines = stderr_of("-m", "rhat", "check", str(tmp_path / "model.gguf"), **more)
    assert any(line.startswith("dequantising") for line in lines), lines
    assert not [line for line in lines if not line.endswith(" …")], lines


def test_a_name_that_is_none_is_one_line_and_soon():
    """Nothing listens there. No waits between tries: loading, left to itself, slept for 48 seconds and printed twelve lines."""
    script = """
import sys, time
def never(seconds):
    sys.exit(f"slept for {seconds} seconds")
time.sleep = never
import rhat
try:
    rhat.load("nobody/nothing-like-this")
except rhat.RhatError as error:
    assert "no such folder" in str(error) and "http://127.0.0.1:9" in str(error), error
    print(error)
"""
    assert stderr_of("-c", script, HF_ENDPOINT="http://127.0.0.1:9") == []


def test_the_upper_bound_of_transformers_is_the_version_that_is_tested():
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = [Requirement(line) for line in tomllib.load(file)["project"]["dependencies"]]
    (transformers,) = [one for one in wanted if one.name == "transformers"]
    tested = importlib.metadata.version("transformers")
    major, minor = tested.split(".")[:2]
    assert tested in transformers.specifier
    assert f"{major}.{int(minor) + 1}.0" not in transformers.specifier, "a version that nobody tried is let in"
