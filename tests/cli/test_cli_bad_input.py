"""Every bad input: one line on stderr, exit code 2, nothing on stdout, no file left behind."""

import errno
import json
import os
import shutil
from collections import namedtuple

import pytest
import torch

from rhat import errors
from tiny import tiny_hf, tiny_tokenizer

PROMPTS = [f"Tell me about thing number {i}." for i in range(12)]


def jsonl(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def other(folder):
    return jsonl(folder / "other.jsonl", [f"Write item {i} down, please." for i in range(12)])


@pytest.fixture
def good(tmp_path):
    return jsonl(tmp_path / "good.jsonl", PROMPTS)


@pytest.fixture
def find(refused, folder, good, tmp_path):
    """`rhat find` with these harmful prompts; checks that no direction was written."""

    def call(harmful, *more, model=folder, clean=True):
        out = tmp_path / "r.safetensors"
        before = sorted(tmp_path.rglob("*"))
        line = refused("find", "--model", model, "--harmful", harmful, "--harmless", good, "--out", out, *more)
        assert not clean or sorted(tmp_path.rglob("*")) == before
        return line

    return call


def test_missing_file(find):
    assert "nowhere.jsonl: no such file" in find("nowhere.jsonl")


def test_empty_file(find, tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    assert "empty.jsonl: empty file" in find(tmp_path / "empty.jsonl")


def test_wrong_json_names_the_line(find, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "One."}\n{"text": \n')
    assert "bad.jsonl:2: not JSON" in find(bad)


def test_label_under_eight_prompts(find, tmp_path):
    assert "got 7 different harmful prompts, expected at least 8" in find(jsonl(tmp_path / "few.jsonl", PROMPTS[:7]))


def test_one_label_without_the_other(refused, folder, good):
    assert "give both" in refused("find", "--model", folder, "--harmful", good)


def test_column_that_is_not_there(find, good):
    assert "no column 'request'; found text" in find(good, "--column", "request")


def test_unknown_model(find, tmp_path):
    assert "no such file or folder" in find(other(tmp_path), model="./nothing/here")


def test_unknown_hub_id_offline(find, tmp_path):
    line = find(other(tmp_path), "--offline", model="nobody/no-such-model")
    assert "nobody/no-such-model: not in the local cache" in line


def test_folder_that_holds_no_model(find, tmp_path):
    prompts = other(tmp_path)
    (tmp_path / "void").mkdir()
    assert "void: a folder without config.json" in find(prompts, model=tmp_path / "void")


def test_no_chat_template_says_how_to_give_one(find, tmp_path):
    prompts, base = other(tmp_path), tmp_path / "base"
    tiny_hf(dtype=torch.float32).save_pretrained(base)
    tiny_tokenizer(chat_template=None).save_pretrained(base)
    assert "--chat-template FILE" in find(prompts, model=base)


def test_damaged_weights(find, folder, tmp_path):
    prompts, damaged = other(tmp_path), tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    assert "cannot be loaded" in find(prompts, model=damaged)


def test_result_that_is_there_already_is_kept(refused, folder, tmp_path):
    """And before any work: there is no such model."""
    out = tmp_path / "r.safetensors"
    out.write_text("mine")
    assert "replace it with --overwrite" in refused("find", "--model", "./nothing/here", "--out", out)
    assert out.read_text() == "mine"


def test_result_in_a_place_that_is_no_folder(refused, tmp_path):
    (tmp_path / "file").write_text("")
    line = refused("find", "--model", "./nothing/here", "--out", tmp_path / "file" / "deep" / "r.safetensors")
    assert "is a file; give another folder" in line


def test_result_that_is_a_folder(refused, tmp_path):
    assert "is a folder; give the name of a file" in refused("find", "--model", "./nothing/here", "--out", tmp_path)


@pytest.mark.parametrize("command", [("find", "--out", "r.safetensors"), ("study", "--out", "runs/full")])
def test_disk_that_is_full_before_work(refused, monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10, 10, 0))
    assert "no space left on the disk" in refused(*command, "--model", "./nothing/here")
    assert not list(tmp_path.iterdir())


def test_disk_that_fills_up_while_saving(refused, monkeypatch, tmp_path, found):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    found("found")
    monkeypatch.setattr(os, "replace", full)
    line = refused("find", "--out", tmp_path / "r.safetensors")
    assert "cannot write the direction (No space left on device)" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [("measure",), ("steer", "--op", "add", "Hello.")])
class TestDirectionFiles:
    @pytest.fixture
    def use(self, refused, folder, tmp_path, monkeypatch, command):
        prompts = jsonl(tmp_path / "p.jsonl", PROMPTS)
        name, *rest = command
        rest = rest or [prompts]
        return lambda file, *more: refused(name, "--model", folder, "--direction", file, *rest, *more)

    def test_missing(self, use):
        assert "no.safetensors: no such file; make one with `rhat find" in use("no.safetensors")

    def test_not_a_direction(self, use, tmp_path):
        (tmp_path / "x.safetensors").write_text("hello")
        assert "cannot be read as a direction" in use(tmp_path / "x.safetensors")

    def test_other_width(self, use, another_direction):
        assert "got width 64" in use(another_direction(width=64))

    def test_same_width_other_model(self, use, another_direction):
        line = use(another_direction(model={"name": "cousin", "revision_or_sha256": "f00d"}))
        assert "direction of another model: it was found on cousin (f00d)" in line

    def test_layer_out_of_range(self, use, another_direction):
        assert "resid_pre.7: this model has layers 0 to 2" in use(another_direction(layer=7))


def test_layer_option_out_of_range(refused, folder, direction):
    line = refused("steer", "-m", folder, "-d", direction, "--op", "add", "--layer", 3, "Hello.")
    assert "resid_pre.3: this model has layers 0 to 2; the last is resid_pre.2" in line


def test_position_outside_the_template(refused, folder, another_direction, tmp_path):
    line = refused("measure", "-m", folder, "-d", another_direction(position=-9), jsonl(tmp_path / "p.jsonl", PROMPTS))
    assert "position -9" in line
    assert "4 template tokens" in line
    assert "expected -5 (the instruction's last token) to -1" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--op", "add", "--scope", "somewhere"), "scope 'somewhere': expected one of"),
        (("--op", "ablate", "--value", "2"), "ablate takes none"),
        (("--op", "add", "--value", "nan"), "expected a finite number"),
        (("--op", "bend"), "is not one of"),
        (("--op", "add", "--max-new-tokens", "0"), "--max-new-tokens"),
    ],
)
def test_intervention_that_makes_no_sense(refused, folder, direction, options, words):
    assert words in refused("steer", "-m", folder, "-d", direction, *options, "Hello.")


def test_empty_prompt(refused, folder, direction):
    assert "got an empty prompt" in refused("steer", "-m", folder, "-d", direction, "--op", "add", " ")


def test_measure_reports_a_late_bad_line_before_it_prints(refused, folder, direction, tmp_path):
    file = jsonl(tmp_path / "long.jsonl", [f"Prompt {i}." for i in range(2000)])
    file.write_text(file.read_text() + "{oops\n")
    assert "long.jsonl:2001: not JSON" in refused("measure", "-m", folder, "-d", direction, file, "--format", "jsonl")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("find", "--nonsense"), "--nonsense"),
        (("stdy",), "Did you mean 'study'?"),
        (("measure",), "--direction"),
        (("find", "--seed", "-1"), "--seed"),
        (("download", "gpt-9"), "gpt-9: not in the catalogue"),
        (("report", "no-such-run"), "no such file; give the folder of a finished `rhat study`"),
        (("compare", "no-such-run"), "no such file; give the folder of a finished `rhat study`"),
        (("find", "--chat-template", "no.jinja", "-m", "MODEL"), "no.jinja: cannot read the chat template"),
    ],
)
def test_usage(refused, folder, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert words in refused(*(folder if a == "MODEL" else a for a in arguments))


def test_every_error_class_is_in_the_documents():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
    names = [n for n, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.RhatError)]
    assert [name for name in names if f"## {name}\n" not in page] == []


@pytest.mark.parametrize("command", ["find", "study"])
def test_phrases_and_tokens_that_are_none(refused, tmp_path, folder, command):
    """Before any model is loaded, and without a trace."""
    none, empty, out = tmp_path / "none.txt", tmp_path / "empty.txt", tmp_path / "out"
    empty.write_text("\n# nothing\n")
    ways = (
        ("--refusal-phrases", none, "cannot be read (No such file or directory); give a text file"),
        ("--refusal-phrases", empty, "no phrases in it; give the openings of refusals, one a line"),
        ("--refusal-tokens", "I,,Sorry", "got an empty token; give ids or texts with commas between them"),
    )
    for option, value, words in ways:
        assert words in refused(command, "-m", folder, "--out", out, option, value)
    assert not out.exists()
