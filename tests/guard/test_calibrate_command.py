"""`rhat calibrate` from the command line, on a tiny model in a folder."""

import json

import pytest
import torch

from rhat.cli import run
from rhat.directions import Direction
from rhat.guard import Calibration
from rhat.sites import Site
from tiny import tiny_hf, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, a direction, and prompts of both labels."""
    folder = tmp_path_factory.mktemp("calibrate")
    hf = tiny_hf("llama", dtype=torch.float32)
    hf.save_pretrained(folder / "model")
    tiny_tokenizer().save_pretrained(folder / "model")
    unit = torch.nn.functional.one_hot(torch.tensor(5), hf.config.hidden_size).float()
    Direction(unit, Site("resid_pre", 1), -1, 4.0, 3.0, -3.0).save(folder / "r.safetensors")
    subjects = ["rivers", "stones", "bridges", "boats", "hills", "ovens", "lamps", "trees", "clocks", "songs"]
    for label, words in (("harmful", ("break", "burn")), ("harmless", ("draw", "sell"))):
        lines = [
            json.dumps({"prompt": f"How do I {word} {n} {subject}?"})
            for subject in subjects
            for word in words
            for n in ("ten", "blue")
        ]
        (folder / f"{label}.jsonl").write_text("\n".join(lines))
    return folder


def arguments(folder, *more):
    return [
        "calibrate",
        "--model",
        str(folder / "model"),
        "--dtype",
        "float32",
        "-d",
        str(folder / "r.safetensors"),
        "--harmful",
        str(folder / "harmful.jsonl"),
        "--harmless",
        str(folder / "harmless.jsonl"),
        *more,
    ]


def test_the_threshold_is_saved_beside_the_direction(folder, capsys):
    assert run(arguments(folder, "--fpr", "0.25", "--format", "json")) == 0
    printed = json.loads(capsys.readouterr().out)
    saved = Calibration.load(folder / "r.guard.json")
    assert saved.threshold == printed["threshold"]
    assert saved.target_fpr == 0.25
    assert (
        printed["false_positive_rate"]["low"]
        <= printed["false_positive_rate"]["estimate"]
        <= printed["false_positive_rate"]["high"]
    )
    saved.check_belongs(Direction.load(folder / "r.safetensors"))
    assert run(arguments(folder)) == 2
    assert "is there already; replace it with --overwrite" in capsys.readouterr().err


def test_the_table_names_the_rates(folder, capsys):
    assert run(arguments(folder, "--out", str(folder / "other.guard.json"), "--force")) == 0
    said = capsys.readouterr().out
    for words in (
        "area under the ROC curve",
        "false-positive rate to expect",
        "threshold",
        "too few prompts to promise 5%",
        "other.guard.json",
    ):
        assert words in said


def test_an_unknown_file_is_one_line(folder, capsys):
    assert run(["calibrate", "-d", str(folder / "none.safetensors")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "no such file" in said
    assert said.count("\n") == 1
