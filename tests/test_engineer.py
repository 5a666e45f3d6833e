"""The engineer's hour: from a model to a guard that serves, by the lines that README and docs/guard.md show, on a model taught to refuse."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from labs import contrast_set
from rhat.cli import run
from server.serving import announced
from studies import arguments

ROOT = Path(__file__).parents[1]
TALK = [
    {"role": "user", "content": "Paint the door of the school."},
    {"role": "assistant", "content": "Glad to help."},
    {"role": "user", "content": "Break the lock of the house."},
]
TRAFFIC = [
    {"messages": [{"role": "user", "content": p.text}], "category": p.label}
    for p in contrast_set(13).select("harmful", "test") + contrast_set(13).select("harmless", "test")
] + [{"messages": TALK, "category": "talks"}]


def line(command):
    """What follows `rhat` in README's line for a command; a direction there is r.safetensors, a model ./mine."""
    found = re.search(rf"^rhat ({command} [^#\n]*?)\s*(?:#.*)?$", (ROOT / "README.md").read_text("utf-8"), flags=re.M)
    return shlex.split(found[1])


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The folder in which the engineer works: a model, prompts and traffic, under README's names."""
    folder = tmp_path_factory.mktemp("shop")
    given = arguments(folder)
    shutil.move(given["model"], folder / "mine")
    (folder / "traffic.jsonl").write_text("\n".join(map(json.dumps, TRAFFIC)))
    return folder


@pytest.fixture
def inside(shop, monkeypatch):
    monkeypatch.chdir(shop)
    return ["--harmful", "harmful.jsonl", "--harmless", "harmless.jsonl"]


def test_1_find(inside, capsys):
    assert run([*line("find"), *inside]) == 0
    assert Path("r.safetensors").exists()


def test_2_calibrating_on_too_few_prompts_is_refused_with_the_rate_to_expect(inside, capsys):
    calibrate = ["calibrate", "--direction", "r.safetensors", "--model", "./mine", *inside]
    assert run(calibrate) == 2
    said = capsys.readouterr().err
    assert re.search(r"13 harmless calibration prompts cannot promise 5 %: expect 7\.14 % \[[\d.]+, [\d.]+\]", said)
    assert "--force" in said
    assert not Path("r.guard.json").exists()
    assert run([*calibrate, "--fpr", "0.1"]) == 0
    assert Path("r.guard.json").exists()


def test_3_own_traffic(inside, capsys):
    assert run([*line("guard"), "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert all(row["flagged"] == (row["projection"] > said["threshold"]) for row in said["prompts"])
    rates = {row["group"]: row["rate"] for row in said["rates"]}
    assert rates["harmful"] > 0.8 > 0.3 > rates["harmless"]
    assert run([*line("guard")]) == 0
    assert "talks" in capsys.readouterr().out


def test_4_measure_knows_the_calibration(inside, capsys):
    Path("prompts.txt").write_text("\n".join(row["messages"][0]["content"] for row in TRAFFIC[:-1]))
    assert run([*line("guard"), "--format", "json"]) == 0
    known = [row["flagged"] for row in json.loads(capsys.readouterr().out)["prompts"][:-1]]
    assert run([*line("measure"), "--format", "jsonl"]) == 0
    assert [json.loads(row)["flagged"] for row in capsys.readouterr().out.splitlines()] == known


def test_5_serve_moderate_and_watch(inside, capsys):
    assert run([*line("guard"), "--format", "json"]) == 0
    known = json.loads(capsys.readouterr().out)["prompts"]
    command = [sys.executable, "-m", "rhat", *line("serve"), "--port", "0", "--no-playground"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env={**os.environ}
    ) as server:
        try:
            url = announced(server)
            body = json.loads(re.search(r"-d '(\{\"input\".*?\})'", (ROOT / "docs" / "guard.md").read_text("utf-8"))[1])
            with httpx.Client(base_url=url, timeout=60) as client:
                assert client.post("/v1/moderations", json=body).status_code == 200
                talks = [TRAFFIC[0]["messages"], TALK]
                several = client.post("/v1/moderations", json={"input": talks}).json()["results"]
                one = client.post("/v1/moderations", json={"input": TALK}).json()["results"]
                for got, row in zip([*several, *one], [known[0], known[-1], known[-1]], strict=True):
                    assert got["rhat"]["projection"] == pytest.approx(row["projection"], abs=1e-3)
                    assert got["flagged"] == row["flagged"]
                wrong = client.post("/v1/moderations", json={"input": TALK[:2]})
                assert wrong.status_code == 400
                assert "conversation 1 ends with the assistant's turn" in wrong.json()["error"]["message"]
                asked = {
                    "model": "rhat",
                    "messages": TRAFFIC[0]["messages"],
                    "max_tokens": 8,
                    "rhat": {"op": "set_projection", "when": "above"},
                }
                assert client.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]["content"]
                metrics = client.get("/metrics").text
                assert 'rhat_moderation_projection_count{direction="r"} 4.0' in metrics
                assert 'rhat_moderation_alarm{direction="r"} 0.0' in metrics
                assert "rhat_moderation_evidence" in metrics
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
