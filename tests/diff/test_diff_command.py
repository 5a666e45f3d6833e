"""`rhat diff`: exit codes for CI, what is said and written, adapters, and what is rejected."""

import json

import jsonschema
import pytest
import torch

from labs import contrast_set
from refusing import refusing_folder, refusing_hf
from rhat.cli import run
from rhat.diff import Diff
from rhat.diff.document import schema
from rhat.diff.opening import resolved
from rhat.directions import Direction
from rhat.errors import ModelError


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    return refusing_folder(tmp_path_factory.mktemp("diff") / "taught")


@pytest.fixture(scope="module")
def untaught(tmp_path_factory):
    return refusing_folder(tmp_path_factory.mktemp("diff") / "untaught", steps=0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Prompts as the user's own files: 52 of both labels, 13 of them for the test."""
    folder = tmp_path_factory.mktemp("prompts")
    for label in ("harmful", "harmless"):
        rows = [{"text": p.text, "split": p.split} for p in contrast_set(13).prompts if p.label == label]
        (folder / f"{label}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "--harmful", folder / "harmful.jsonl", "--harmless", folder / "harmless.jsonl"


@pytest.fixture
def call(capfd, tmp_path, files, monkeypatch):
    """Run the command; gives its exit code, what it said, and what it wrote."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("RHAT_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "diff.json"

    def done(*arguments, prompts=files):
        capfd.readouterr()
        code = run(["diff", *map(str, arguments), *map(str, prompts), "--out", str(out)])
        said = capfd.readouterr()
        return code, said, Diff.load(out) if out.exists() else None

    return done


def test_against_itself_it_is_no_worse_and_the_exit_code_is_0(call, taught, tmp_path):
    code, said, found = call(taught, taught, "--margin", 40)
    assert (code, found.outcome) == (0, "no worse")
    assert said.out.startswith(
        "No worse: on harmful and harmless prompts, B is shown not to be worse than A by 40 points or more."
    )
    assert f"saved to {tmp_path / 'diff.json'}" in said.out
    assert "on this machine; B is taken to be as fast as A" in said.err
    assert "B: harmless" in said.err
    assert "A: r̂ of B set, harmless" in said.err
    assert not (tmp_path / "diff.json.kept").exists()
    jsonschema.validate(json.loads((tmp_path / "diff.json").read_text("utf-8")), schema())


def test_against_one_that_was_not_taught_it_is_worse_and_the_exit_code_is_1(call, taught, untaught):
    code, said, found = call(taught, untaught, "--format", "json")
    assert (code, found.outcome) == (1, "worse")
    assert json.loads(said.out) == found.plain()


def test_too_few_prompts_are_undecided_and_the_exit_code_is_3(call, taught):
    code, said, found = call(taught, taught, "--format", "jsonl")
    assert (code, found.outcome) == (3, "undecided")
    assert [json.loads(line)["prompts"] for line in said.out.splitlines()] == ["harmful", "harmless"]


def test_an_adapters_folder_is_the_base_model_with_it(call, taught, tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed: pip install 'rhat[peft]'")
    hf = refusing_hf()
    hf.config._name_or_path = hf.name_or_path = str(taught)
    settings = peft.LoraConfig(r=4, target_modules=["o_proj", "down_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    tuned = peft.get_peft_model(hf, settings)
    tuned.peft_config["default"].base_model_name_or_path = str(taught)
    tuned.save_pretrained(tmp_path / "lora")
    given = Direction.of(torch.ones(48), site="resid_pre.2", position=-1, mean_harmful=4.0, mean_harmless=-2.0)
    r = given.save(tmp_path / "r.safetensors")  # what an adapter changes does not hang on r̂: nothing is searched
    code, _, found = call(taught, tmp_path / "lora", "-d", r, "-d", r)
    assert code in (1, 3)
    assert found.b.weight_format == "safetensors, with the adapter lora"
    assert found.a.weight_format == "safetensors"
    assert found.a.weights != found.b.weights
    same = call(taught, taught, "--adapter-b", tmp_path / "lora", "-d", r, "-d", r, "--overwrite")[2]
    assert same.changes == found.changes


def test_without_peft_an_adapter_is_one_clear_line(tmp_path, monkeypatch):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "base"}')
    assert resolved(str(tmp_path), {"dtype": "auto"}) == ("base", {"dtype": "auto", "adapter": str(tmp_path)})
    with pytest.raises(ModelError, match="is an adapter itself"):
        resolved(str(tmp_path), {"adapter": "other"})
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ModelError, match=r"pip install 'rhat\[peft\]'"):
        resolved(str(tmp_path), {})


def test_an_adapter_without_a_base_is_one_clear_line(tmp_path):
    pytest.importorskip("peft")
    for text, says in (("{}", "cannot be read"), ('{"base_model_name_or_path": null}', "names no base model")):
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(ModelError, match=says):
            resolved(str(tmp_path), {})


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["-d", "r.safetensors"], "--direction: got 1, expected two"),
        (["--borderline", "b.txt"], "got --borderline with the built-in set"),
        (["--dtype-b", "float12"], "--dtype-b"),
        (["--margin", "0"], "--margin"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(call, taught, more, says):
    code, said, found = call(taught, taught, *more, prompts=())
    assert (code, said.out, found) == (2, "", None)
    assert says in said.err
    assert said.err.count("\n") == 1


def test_a_file_that_is_there_is_not_replaced(call, taught, tmp_path):
    (tmp_path / "diff.json").write_text("{}")
    with pytest.raises(Exception, match="not what rhat diff writes"):
        call(taught, taught)
    assert (tmp_path / "diff.json").read_text() == "{}"
