"""Commands run in this process; the model is a tiny random one, saved as a folder."""

from dataclasses import dataclass

import pytest
import torch

from rhat.cli import run
from rhat.directions import Direction
from rhat.sites import Site
from tiny import tiny_hf, tiny_tokenizer


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capfd, monkeypatch):
    """`cli("find", "--quick")` → exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        capfd.readouterr()
        code = run([str(a) for a in arguments])
        said = capfd.readouterr()
        return Done(code, said.out, said.err)

    return call


@pytest.fixture
def refused(cli):
    """Run a command that must fail with exit code 2, one line and nothing on stdout; gives the line."""

    def call(*arguments):
        done = cli(*arguments)
        lines = [line for line in done.err.splitlines() if not line.startswith(("loading ", "prompts: ", "about "))]
        assert (done.code, done.out, len(lines)) == (2, "", 1), done
        assert lines[0].startswith("error: ")
        return lines[0]

    return call


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A tiny model's folder."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_hf(dtype=torch.float32).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def direction(folder, tmp_path_factory):
    """A random direction of that model, at layer 1."""
    return make_direction(tmp_path_factory.mktemp("directions") / "r.safetensors")


@pytest.fixture
def another_direction(tmp_path):
    """Makes other directions, such as one of another model."""
    return lambda **what: make_direction(tmp_path / "other.safetensors", **what)


def make_direction(path, width=48, layer=1, position=-1, model=None):
    unit = torch.randn(width, generator=torch.Generator().manual_seed(0))
    Direction(
        unit / unit.norm(),
        Site("resid_pre", layer),
        position,
        norm=6.0,
        mean_harmful=4.0,
        mean_harmless=-2.0,
        model=model or {},
    ).save(path)
    return path


@pytest.fixture
def found(monkeypatch, folder):
    """Makes `rhat find` end in a given outcome: no tiny model refuses, so nothing is found on it."""
    from rhat.selection import finding, survey

    unit = torch.zeros(48)
    unit[0] = 1.0
    r = Direction(unit, Site("resid_pre", 1), -2, 6.0, 4.0, -2.0)
    table = tuple(
        {
            "position": -2,
            "layer": layer,
            "ablation_score": -3.0 + layer,
            "induce_score": 0.5 - layer,
            "kl": 0.05,
            "status": status,
        }
        for layer, status in enumerate(("zero_norm", "selected", "induce"))
    )
    counts = {
        split: {label: {"given": 20, "kept": 12} for label in ("harmful", "harmless")}
        for split in ("train", "validation")
    }

    def outcome(name):
        has = name.startswith("found")
        made = finding.Finding(
            name,
            f"this is the sentence of {name}",
            r if has else None,
            table if name != "no_refusal" else (),
            survey.Survey(prompts=counts),
            removed={"induce": 1},
            split_half_cosine=0.9 if has else None,
            baseline_induce=-5.0,
        )
        monkeypatch.setattr(finding, "find", lambda *_arguments, **_options: made)
        monkeypatch.setattr("rhat.model.load", lambda *_arguments, **_options: None)
        monkeypatch.setattr("rhat.selection.told.told_of_search", lambda *_arguments: None)
        monkeypatch.setattr("rhat.scoring.pieces.fingerprint", lambda _model: "a model that is none")
        return made

    return outcome
