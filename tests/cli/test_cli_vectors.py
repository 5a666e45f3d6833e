"""`rhat import` and `rhat export` as they are typed."""

import json

import pytest
import torch

from labs import contrast_set
from refusing import refusing_folder
from rhat.directions import Direction


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    return refusing_folder(tmp_path_factory.mktemp("models") / "refusing")


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompts")
    for label in ("harmful", "harmless"):
        texts = [p.text for p in contrast_set(per_split=13).prompts if p.label == label]
        (folder / f"{label}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return ("--harmful", folder / "harmful.jsonl", "--harmless", folder / "harmless.jsonl")


@pytest.fixture
def theirs(tmp_path):
    """What refusal_direction leaves."""
    torch.save(torch.randn(48, generator=torch.Generator().manual_seed(0)).double(), tmp_path / "direction.pt")
    (tmp_path / "direction_metadata.json").write_text(json.dumps({"pos": -1, "layer": 3}))
    return tmp_path


def test_import_measures_what_is_lacking_and_export_takes_it_out(cli, refusing, sides, theirs):
    mine = theirs / "mine.safetensors"
    done = cli("import", theirs, "--model", refusing, *sides, "--out", mine)
    assert done.code == 0, done.err
    assert "r̂ at resid_pre.3, position -1\n" in done.out
    assert "the file's vector has length " in done.out
    assert "mean projection: harmful" in done.out
    r = Direction.load(mine)
    assert None not in r.means
    for name, op in (("lm-eval", "ablate"), ("gguf", "subtract"), ("nnsight", "set_projection")):
        done = cli("export", mine, "--to", name, "--op", op, "--model", refusing, "--dtype", "float32", "--check")
        assert done.code == 0, done.out
        assert "agrees: logits of 4 prompts" in done.out
    assert (theirs / "mine-lm-eval.pt").is_file()
    coarse = ("--op", "ablate", "--model", refusing, "--dtype", "bfloat16", "--check")
    done = cli("export", mine, "--to", "lm-eval", *coarse, "--out", theirs / "coarse.pt")
    assert done.code == 1  # this vector does less than rounding there: neither agreement nor difference is claimed
    assert "cannot be told from no intervention: logits of 4 prompts" in done.out
    again = cli("import", mine, "--model", refusing, *sides, "--out", theirs / "again.safetensors")
    assert again.code == 0  # nothing is lacking: nothing is measured
    assert Direction.load(theirs / "again.safetensors").means == r.means


def test_import_without_measuring_then_experiments_say_what_is_unknown(cli, refused, refusing, theirs):
    mine = theirs / "mine.safetensors"
    (theirs / "p.txt").write_text("Sing.\n")
    done = cli("import", theirs, "--model", refusing, "--no-measure", "--negate", "--out", mine)
    assert "mean projections are unknown; set_projection needs a --value" in done.out
    line = refused("steer", "-d", mine, "--model", refusing, "--op", "set_projection", "Sing.")
    assert "the mean projection of harmful prompts is unknown; measure it with `rhat import" in line
    assert "harmful prompts is unknown" in refused("serve", "-d", mine, "--model", refusing)
    done = cli("measure", "-d", mine, "--model", refusing, theirs / "p.txt", "--format", "json")
    assert [set(one) for one in json.loads(done.out)] == [{"id", "projection"}]  # no scale without means
    theirs_unit = torch.load(theirs / "direction.pt").double()
    assert float(Direction.load(mine).unit.double() @ theirs_unit) < 0


def test_a_model_that_does_not_refuse_is_a_result(cli, folder, theirs, sides):
    (theirs / "direction_metadata.json").write_text(json.dumps({"pos": -1, "layer": 1}))
    done = cli("import", theirs, "--model", folder, *sides, "--out", theirs / "mine.safetensors")
    assert done.code == 0, done.err
    assert "mean projections are unknown: " in done.out


def test_bad_input(refused, folder, direction, theirs, tmp_path):
    torch.save(torch.ones(2, 48), tmp_path / "m.pt")
    out = ("--out", tmp_path / "o.safetensors")
    (theirs / "direction_metadata.json").unlink()
    assert "does not say at which layer" in refused("import", theirs / "direction.pt", "--model", folder, *out)
    line = refused("import", theirs / "direction.pt", "--site", "resid_pre.9", "--model", folder, "--no-measure", *out)
    assert "this model has layers 0 to 2" in line
    assert "no such file" in refused("import", tmp_path / "none.pt", *out)
    assert "expected one of gguf, lm-eval" in refused("export", direction, "--to", "onnx", "--model", folder)
    line = refused("export", direction, "--to", "gguf", "--op", "ablate", "--model", folder)
    assert "gguf files cannot say that" in line
    line = refused("export", direction, "--to", "lm-eval", "--scope", "prompt", "--model", folder)
    assert "expected the scope all" in line
    line = refused("export", direction, "--to", "lm-eval", "--out", tmp_path / "x.csv", "--model", folder)
    assert "lm-eval files end in .pt" in line
    (tmp_path / "there.pt").write_text("")
    line = refused("export", direction, "--to", "lm-eval", "--out", tmp_path / "there.pt", "--model", folder)
    assert "is there already" in line
    assert not (tmp_path / "o.safetensors").exists()
