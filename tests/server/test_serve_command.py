"""`rhat serve` from the command line: it listens, answers, and ends when told to."""

import os
import signal
import subprocess
import sys

import httpx
import pytest
import torch
from serving import announced, make_direction

from rhat.cli import run
from tiny import tiny_chat_model, tiny_hf, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    tiny_hf("llama", dtype=torch.float32).save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    make_direction(tiny_chat_model("llama")).save(folder / "r.safetensors")
    return folder


def test_it_serves_what_it_is_given_and_ends_on_sigterm(folder):
    command = [
        sys.executable,
        "-m",
        "rhat",
        "serve",
        "--model",
        str(folder / "model"),
        "--dtype",
        "float32",
        "--port",
        "0",
        "-d",
        f"mine={folder / 'r.safetensors'}",
        "--default",
        '{"op": "ablate"}',
        "--no-playground",
        "--max-length",
        "300",
    ]
    environment = {**os.environ, "RHAT_API_KEY": "correct horse"}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as started:
        try:
            url = announced(started)
            with httpx.Client(base_url=url, headers={"authorization": "Bearer correct horse"}, timeout=30) as client:
                [model] = client.get("/v1/models").json()["data"]
                assert model["rhat"]["directions"][0]["name"] == "mine"
                assert model["rhat"]["default"][0]["op"] == "ablate"
                body = {"model": model["id"], "messages": [{"role": "user", "content": "a stone"}], "max_tokens": 4}
                assert client.post("/v1/chat/completions", json=body).status_code == 200
                assert client.get("/health", headers={"authorization": ""}).status_code == 200
            started.send_signal(signal.SIGTERM)
            assert started.wait(20) in (0, -signal.SIGTERM)
            assert started.stdout.read() == ""
        finally:
            started.kill()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from other machines, so an API key is needed"),
        (["--default", "{"], "--default: not valid JSON"),
        (["--default", "3"], "--default: expected an intervention or a list of them"),
        (["-d", "nothing.safetensors"], "nothing.safetensors: no such file"),
        (["-d", "a=x.safetensors", "-d", "a=y.safetensors"], "x.safetensors: no such file"),
        (["--port", "99999"], "--port"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments, words, capsys, monkeypatch):
    monkeypatch.delenv("RHAT_API_KEY", raising=False)
    assert run(["serve", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_two_directions_of_one_name(folder, capsys):
    path = str(folder / "r.safetensors")
    assert run(["serve", "-d", path, "-d", path]) == 2
    assert "two directions cannot both be named 'r'; give NAME=FILE" in capsys.readouterr().err
