"""`rhat heads`, `layers`, `pca`, `probe`: one experiment with a direction file, on a tiny random model."""

import json

import pytest
import torch

from labs import SIZES, contrast_set, tiny_finding
from rhat.directions import Direction
from rhat.errors import DirectionError
from rhat.model import load
from rhat.scoring import RefusalToken
from rhat.selection import given_direction as module
from rhat.selection import survey
from rhat.selection.answers import Heard
from rhat.selection.finding import Finding
from rhat.selection.given_direction import finding_for
from rhat.selection.settings import FindSettings
from rhat.study import PRESETS


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


@pytest.fixture
def files(tmp_path):
    """The prompts of tests/labs.py as files, with their topics and splits."""
    for label in ("harmful", "harmless"):
        rows = [
            {"text": p.text, "split": p.split, "category": p.category, "topic": p.topic}
            for p in contrast_set().prompts
            if p.label == label
        ]
        (tmp_path / f"{label}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "--harmful", tmp_path / "harmful.jsonl", "--harmless", tmp_path / "harmless.jsonl"


@pytest.fixture
def use(cli, folder, files, direction, monkeypatch):
    """Run one of the commands. The finding is made up, as tiny models refuse nothing; the direction is the file's."""

    def made_up(model, prompts, direction, *, progress):
        return Finding(**{**vars(tiny_finding(model, prompts)), "direction": direction})

    monkeypatch.setattr(module, "finding_for", made_up)
    monkeypatch.setitem(PRESETS, "quick", SIZES)
    return lambda name, *more: cli(name, "-m", folder, "-d", direction, *files, "-p", "quick", *more)


@pytest.mark.parametrize(
    ("name", "title", "fields"),
    [
        ("heads", "Heads by contribution", {"layer", "head", "attribution"}),
        ("layers", "Setting and adding by layer", {"layer", "set_score", "add_score", "gap"}),
        ("pca", "Principal components by layer", {"layer", "explained", "cosine_pc1_rhat", "points"}),
        ("probe", "Finders", {"name", "cosine_to_rhat", "test_accuracy"}),
    ],
)
def test_table_and_lines(use, name, title, fields):
    done = use(name)
    assert done.code == 0, done.err
    assert title in done.out
    rows = [json.loads(line) for line in use(name, "--format", "jsonl").out.splitlines()]
    assert rows
    assert all(fields <= set(row) for row in rows)


def test_it_is_the_given_direction_that_is_used(use, model, direction):
    r = Direction.load(direction)
    (row,) = [row for row in json.loads(use("probe", "--format", "json").out)["finders"] if row["name"] == "lat"]
    from rhat.study import EXPERIMENTS, open_lab

    prompts = contrast_set()
    ours = Finding(**{**vars(tiny_finding(model, prompts)), "direction": r})
    lab = open_lab(model, prompts, ours, "quick")
    expected = next(f for f in EXPERIMENTS["finders"](lab).finders if f.name == "lat")
    assert row["cosine_to_rhat"] == pytest.approx(expected.cosine_to_rhat, abs=1e-5)
    assert abs(row["cosine_to_rhat"]) < 0.9  # and not the one that would be found on these prompts


def test_model_that_hardly_refuses_is_a_result(cli, folder, direction, files):
    done = cli("layers", "-m", folder, "-d", direction, *files)
    assert done.code == 0, done.err
    assert "nothing to measure: " in done.out
    assert "hardly refuses: 0 of 12 harmful training prompts" in done.out


def test_direction_of_another_model(refused, folder, another_direction, files):
    assert "got width 64" in refused("heads", "-m", folder, "-d", another_direction(width=64), *files)


class TestAround:
    @pytest.fixture
    def tokens(self, monkeypatch, model):
        """Half the vocabulary counts as refusal tokens, so that the filter keeps some prompts and drops others."""
        some = tuple(RefusalToken(i, str(i), 0.1, 0.0) for i in range(0, model.text_config.vocab_size, 2))
        heard = Heard(model, "", some, refused=5, broken=0, n=12, openings=(), apart=False)
        monkeypatch.setattr(survey, "listen", lambda *_arguments: heard)
        return some

    def test_means_are_those_of_the_prompts_that_behave(self, model, direction, tokens):
        r, prompts = Direction.load(direction), contrast_set()
        found = finding_for(model, prompts, r, FindSettings(min_kept=(1, 0)))
        assert found.direction is r
        ids = [token.id for token in tokens]
        kept, states = [], []
        for p in prompts.select("harmful", "train"):
            run = model.hf(torch.tensor([model.tokenize([p.text])[0]]), output_hidden_states=True)
            probabilities = run.logits[0, -1].double().softmax(-1)
            if float(probabilities[ids].sum()) > 0.5:
                kept.append(p)
                states.append(run.hidden_states[1][0, -1].double())
        assert 0 < len(kept) < 12
        assert found.kept["train"]["harmful"] == tuple(kept)
        torch.testing.assert_close(found.means.harmful[1, -1], torch.stack(states).mean(0), atol=1e-4, rtol=0)
        assert found.prompts["train"]["harmful"] == {"given": 12, "kept": len(kept)}

    def test_position_outside_the_template(self, model, another_direction, tokens):
        r = Direction.load(another_direction(position=-9))
        with pytest.raises(DirectionError, match="position -9: expected resid_pre and a position from -5 to -1"):
            finding_for(model, contrast_set(), r)
