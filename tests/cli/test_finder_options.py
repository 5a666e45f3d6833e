"""`rhat find` with other finders and rules, on a tiny model that was taught to refuse."""

import json

import pytest
import torch
from safetensors.torch import save_file

from labs import contrast_set
from refusing import refusing_folder
from rhat.directions import Direction
from rhat.vocabulary import FINDER_KINDS, RULE_KINDS


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The model's folder, and its prompts."""
    root = tmp_path_factory.mktemp("refusing")
    refusing_folder(root / "model")
    for label in ("harmful", "harmless"):
        texts = [p.text for p in contrast_set(per_split=13).prompts if p.label == label]
        (root / f"{label}.txt").write_text("\n".join(texts) + "\n", "utf-8")
    matrix = torch.randn(5, 48, generator=torch.Generator().manual_seed(4))
    save_file({"W_dec": matrix, "b_dec": torch.zeros(48)}, root / "sae.safetensors")
    return root, matrix


def asked(root, *more):
    given = ["find", "-m", root / "model", "--harmful", root / "harmful.txt", "--harmless", root / "harmless.txt"]
    return [*given, "--overwrite", "--out", root / "r.safetensors", *more]


def test_a_rule_and_a_finder_are_written_to_the_file_and_told(cli, files):
    root, _ = files
    done = cli(
        *asked(root, "--finder", "paired_svd", "--rule", "first_auroc", "--instruction-token", "--format", "json")
    )
    assert done.code == 0, done.err
    said = json.loads(done.out)
    d = Direction.load(root / "r.safetensors")
    assert (said["rule"], d.extra["rule"], d.method) == ("first_auroc", "first_auroc", "paired_svd")
    [row] = [c for c in said["candidates"] if c["status"] == "selected"]
    assert (row["layer"], row["position"]) == (d.layer, d.position)
    assert 0.5 < row["scores"]["auroc"] <= 1
    assert said["direction"]["spectrum"]["shares"][0] == pytest.approx(d.extra["spectrum"]["shares"][0], rel=0.01)
    positions = {c["position"] for c in said["candidates"]}
    assert min(positions) == -len(positions)


def test_the_table_shows_what_the_rule_chose_by(cli, files):
    done = cli(*asked(files[0], "--finder", "whitened", "--rule", "cosmic"))
    assert done.code == 0, done.err
    assert "Cosmic ablate" in done.out
    assert "by COSMIC" in done.out
    assert "shrinkage: 0." in done.out


def test_a_row_of_a_decoder_is_a_finder(cli, files):
    root, matrix = files
    more = (
        "--finder",
        "given",
        "--vector",
        root / "sae.safetensors",
        "--key",
        "W_dec",
        "--row",
        3,
        "--rule",
        "first_auroc",
    )
    done = cli(*asked(root, *more))
    assert done.code == 0, done.err
    d = Direction.load(root / "r.safetensors")
    cosine = torch.nn.functional.cosine_similarity(d.unit, matrix[3], dim=0)
    assert abs(float(cosine)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--finder", "lda"), "finder 'lda': expected one of mean_difference, "),
        (("--finder", "given"), "give its file with --vector"),
        (("--vector", "x.safetensors"), "it is for --finder given"),
        (("--rule", "best"), "rule 'best': expected one of published, relaxed, "),
        (("--finder", "given", "--vector", "nothing.safetensors"), "no such file"),
        (("--borderline", "b.txt"), "give --harmful and --harmless as well"),
    ],
)
def test_what_is_wrong_is_told_before_the_model_is_loaded(refused, more, said):
    assert said in refused("find", "-m", "./nothing/here", *more)


def test_help_names_every_finder_and_rule(cli):
    said = cli("find", "--help").out.replace("│", " ")
    words = " ".join(said.split())
    for kind in FINDER_KINDS.values():
        assert kind.written in words
    for rule in RULE_KINDS:
        assert rule in words
