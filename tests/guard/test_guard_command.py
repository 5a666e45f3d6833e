"""`rhat guard FILE`: traffic against a calibrated guard, on a tiny model; projections held against plain transformers."""

import json

import pandas as pd
import pytest
import torch
from test_calibrate_command import arguments, folder  # noqa: F401

import rhat
from rhat.cli import run
from rhat.directions import Direction
from rhat.guard import Calibration
from rhat.guard.traffic import histogram
from rhat.statistics import wilson

ROWS = [
    {"id": "a", "prompt": "How do I break ten rivers?", "category": "one"},
    {"id": "b", "prompt": "Sing.", "category": "one"},
    {"id": "c", "prompt": "How do I sell blue ovens by the sea?", "category": "two"},
]
TALKS = [
    [
        {"role": "system", "content": "Answer in rhyme."},
        {"role": "user", "content": "Name a river."},
        {"role": "assistant", "content": "The Rhine."},
        {"role": "user", "content": "Another."},
        {"role": "assistant", "content": "The Po."},
    ],
    [{"role": "user", "content": "Sing."}],
]


@pytest.fixture(scope="module")
def set_up(folder):  # noqa: F811
    assert run(arguments(folder, "--fpr", "0.4", "--out", str(folder / "traffic.guard.json"))) == 0
    return folder


def guarded(folder, file, *more):  # noqa: F811
    model = ("--model", str(folder / "model"), "--dtype", "float32", "-d", str(folder / "r.safetensors"))
    return run(["guard", str(file), *model, "--calibration", str(folder / "traffic.guard.json"), *more])


def plain(folder, messages):  # noqa: F811
    """r̂·x of a conversation, by transformers alone."""
    model, r = rhat.load(folder / "model", dtype="float32"), Direction.load(folder / "r.safetensors")
    ids = model.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    with torch.no_grad():
        states = model.hf(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    return float(states[r.layer][0, r.position].double() @ r.unit.double())


def test_each_prompt_has_its_projection_flag_id_and_text(set_up, tmp_path, capsys):
    file = tmp_path / "traffic.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    assert guarded(set_up, file, "--format", "json") == 0
    said = json.loads(capsys.readouterr().out)
    threshold = Calibration.load(set_up / "traffic.guard.json").threshold
    assert said["threshold"] == threshold
    for row, found in zip(ROWS, said["prompts"], strict=True):
        value = plain(set_up, [{"role": "user", "content": row["prompt"]}])
        assert found["projection"] == pytest.approx(value, abs=1e-4)
        assert (found["id"], found["text"], found["group"]) == (row["id"], row["prompt"], row["category"])
        assert found["flagged"] == (value > threshold)
    frame = pd.DataFrame(said["prompts"])
    for group, part in [("all", frame), *frame.groupby("group")]:
        (rate,) = [r for r in said["rates"] if r["group"] == group]
        assert (rate["n"], rate["flagged"]) == (len(part), int(part["flagged"].sum()))
        assert rate["high"] == wilson(rate["flagged"], rate["n"]).high
    assert sum(row["n"] for row in said["histogram"]) == 3
    assert sum(row["n"] for row in said["histogram"] if row["low"] >= threshold - 1e-9) == said["rates"][0]["flagged"]


def test_conversations_are_read_whole_up_to_the_last_user_turn(set_up, tmp_path, capsys):
    file = tmp_path / "talks.jsonl"
    file.write_text("\n".join(json.dumps({"messages": talk}) for talk in TALKS))
    assert guarded(set_up, file, "--format", "jsonl") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["projection"] == pytest.approx(plain(set_up, TALKS[0][:4]), abs=1e-4)
    assert first["text"] == "Another."
    assert second["projection"] == pytest.approx(plain(set_up, TALKS[1]), abs=1e-4)


def test_the_table_says_rates_histogram_and_what_to_expect(set_up, tmp_path, capsys):
    file = tmp_path / "traffic.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    assert guarded(set_up, file, "--top", "2") == 0
    said = capsys.readouterr().out
    for words in ("all", "one", "two", "The 2 highest projections", "█", "calibrated for at most 40% of prompts"):
        assert words in said


def test_too_few_calibration_prompts_are_an_error_unless_forced(folder, capsys):  # noqa: F811
    target = folder / "few.guard.json"
    assert run(arguments(folder, "--fpr", "0.01", "--out", str(target))) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "cannot promise" in one]
    assert "harmless calibration prompts cannot promise 1 %: expect" in line
    assert "give at least 99 harmless calibration prompts" in line
    assert not target.exists()
    assert run(arguments(folder, "--fpr", "0.01", "--out", str(target), "--force")) == 0
    assert target.exists()
    said = capsys.readouterr().out
    assert "too few prompts to promise 1%; expect" in said
    assert "set for at most" not in said
    traffic = folder / "traffic.jsonl"
    traffic.write_text("\n".join(map(json.dumps, ROWS)))
    assert guarded(folder, traffic, "--calibration", str(target)) == 0
    said = capsys.readouterr().out
    assert (
        "asked for at most 1% of prompts like its harmless ones, which its prompts were too few to promise: expect"
        in said
    )


@pytest.mark.parametrize("threshold", [-9.0, 0.0, 0.3, 9.0])
def test_the_histogram_counts_every_value_once_and_meets_at_the_threshold(threshold):
    values = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    bins = histogram(values, threshold)
    assert sum(row["n"] for row in bins) == 200
    assert sum(row["n"] for row in bins if row["low"] >= threshold - 1e-9) == int((values > threshold).sum())
    for row in bins:
        assert row["n"] == int(((values > row["low"] + 1e-9) & (values <= row["high"] + 1e-9)).sum())
