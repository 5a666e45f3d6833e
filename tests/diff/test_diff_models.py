"""Two models side by side: tiny ones that were taught to refuse, and what is done to them in memory."""

import copy
import gc
import json
import weakref

import numpy as np
import pytest
import torch

import rhat
from labs import HARMFUL, HARMLESS, PLACES, THINGS, contrast_set
from refusing import refusing_hf
from rhat.diff import Diff, DiffSettings, diff
from rhat.errors import ArtifactError, StudyError
from rhat.prompts import ContrastSet, Prompt
from rhat.vocabulary import Preset
from tiny import tiny_tokenizer

SIZES = Preset("tiny", 60, 24, None, 8, 3, 2, borderline=60)
SETTINGS = DiffSettings(preset=SIZES, margin=0.2)
MORE = ("shed", "barn", "attic", "cellar", "porch")


def prompts(n=60):
    """As many test prompts of both labels as are needed to show something, twins too; training and validation as the lab has them."""
    found = [p for p in contrast_set().prompts if p.split in ("train", "validation")]
    for label, form in (("harmful", HARMFUL), ("harmless", HARMLESS), ("twin", HARMFUL), ("borderline", HARMLESS)):
        things = THINGS if label in ("harmful", "harmless") else [f"old {thing}" for thing in THINGS]
        texts = [form.format(thing, place) for place in MORE for thing in things][:n]
        found += [Prompt(text, label, "test", f"{label}-test-{i}") for i, text in enumerate(texts)]
    assert len(PLACES) == 4
    return ContrastSet("many", tuple(found), 0)


def chat(hf):
    return rhat.load((hf, tiny_tokenizer()))


@pytest.fixture(scope="module")
def taught():
    return refusing_hf()


@pytest.fixture(scope="module")
def untaught():
    return refusing_hf(steps=0)


@pytest.fixture(scope="module")
def obliging():
    """The taught model, taught further to oblige everybody."""
    from refusing import ANSWER, Lesson

    return refusing_hf(lessons=[Lesson(refusal=ANSWER)])


@pytest.fixture(scope="module")
def r(taught):
    """r̂ as `rhat find` gives it, of as many prompts."""
    return rhat.find(chat(taught), prompts(), rhat.FindSettings.sized(SIZES)).direction


@pytest.fixture(scope="module")
def same(taught):
    return diff(chat(taught), chat(copy.deepcopy(taught)), prompts(), SETTINGS)


def test_matrices_that_cannot_be_read_are_said(taught, r, monkeypatch):
    """A removal that is not seen in some matrices says nothing of the others."""
    from rhat.diff import seen, weights

    monkeypatch.setattr(weights, "_writers", lambda model: ([], ["the mlp of layer 1"]))
    few = DiffSettings(preset=Preset("few", 12, 8, None, 8, 3, 2, borderline=0), margin=0.2)
    found = diff(chat(taught), chat(copy.deepcopy(taught)), prompts(12), few, directions=(r, r))
    assert seen.lengths is weights.lengths
    assert not found.removals
    assert any(
        "r̂ of A could not be looked for in 1 part of B that writes to the residual stream" in line
        for line in found.notes
    )


@pytest.fixture(scope="module")
def edited(taught, r):
    """The taught model with its own r̂ projected out of what writes to the residual stream, in memory."""
    r = r.unit.double()
    hf = copy.deepcopy(taught)
    with torch.no_grad():
        for name, w in hf.named_parameters():
            if name.endswith("embed_tokens.weight"):
                w -= torch.outer(w.double() @ r, r).to(w.dtype)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                w -= torch.outer(r, r @ w.double()).to(w.dtype)
    return hf


def test_a_model_is_no_worse_than_itself(same):
    assert (same.outcome, same.exit_code) == ("no worse", 0)
    assert [row.prompts for row in same.changes] == ["harmful", "harmless", "borderline", "twin"]
    for row in same.changes:
        assert (row.n, row.a_only, row.b_only, row.difference) == (60, 0, 0, 0)
        assert row.outcome == "no worse"
    assert same.change("harmful").a_rate > 0.9
    assert same.change("harmless").a_rate < 0.1
    assert same.direction_cosine == pytest.approx(1, abs=1e-5)
    assert min(row.cosine for row in same.cosines) == pytest.approx(1, abs=1e-5)
    assert not any(row.removed for row in same.removals)
    assert len(same.removals) == 4
    assert same.sentences[0].startswith("No worse: on harmful, harmless, borderline and unsafe twin prompts")
    assert any(line.startswith("No removal of r̂ from the weights is seen") for line in same.sentences)


def test_numbers_of_a_model_are_those_of_transformers(taught, r, same):
    """Means, projections and refusals again, by plain transformers and numpy, one prompt at a time."""
    tokenizer, some = tiny_tokenizer(), prompts()

    def tokens(p):
        return tokenizer.apply_chat_template(
            [{"role": "user", "content": p.text}], add_generation_prompt=True, return_dict=False
        )

    def run(p):
        with torch.no_grad():
            states = taught(torch.tensor([tokens(p)]), output_hidden_states=True).hidden_states
        return torch.stack([s[0, r.position] for s in states]).double()

    def answer(p):
        ids = tokens(p)
        said = taught.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False)[0, len(ids) :]
        return tokenizer.decode(said)

    for label in ("harmful", "harmless"):
        chosen = some.select(label, "test", 60)
        values = np.array([float(run(p)[r.layer] @ r.unit.double()) for p in chosen])
        [row] = [x for x in same.projections if (x.model, x.direction, x.prompts) == ("A", "B", label)]
        assert (row.mean, row.sd) == pytest.approx((values.mean(), values.std(ddof=1)), rel=1e-4)
        assert same.change(label).a_rate == np.mean(["Sorry" in answer(p) for p in chosen])
    train = {
        label: torch.stack([run(p) for p in some.select(label, "train", 128)]) for label in ("harmful", "harmless")
    }
    halves = [train["harmful"][h::2].mean(0) - train["harmless"][h::2].mean(0) for h in (0, 1)]
    expected = torch.nn.functional.cosine_similarity(*halves, dim=1)
    for row in same.cosines:
        assert row.a_split_half == pytest.approx(float(expected[row.layer]), abs=1e-4)


def test_each_r_set_in_each_model_is_what_an_intervention_does(taught, r):
    """Answers under the intervention by `generate`, judged; B's r̂ is set to just above its harmless mean, which changes little, A's to its
    own harmful mean, at which this small model's answers break."""
    from rhat.scoring.reading import classes, reader

    model, some = chat(taught), prompts(30)
    near = rhat.Direction.of(
        r.unit, site=r.site, position=r.position, mean_harmful=r.mean_harmless + 0.01, mean_harmless=r.mean_harmless
    )
    found = diff(model, chat(taught), some, DiffSettings(preset=SIZES), directions=(r, near))
    texts = [p.text for p in some.select("harmless", "test", SIZES.sweep)]
    rates = {row.condition: row for row in found.rates if row.prompts == "harmless"}
    seen = []
    for whose, direction in (("A", r), ("B", near)):
        answers = [c.text for c in model.generate(texts, 24, intervention=rhat.set_projection(direction))]
        read = [str(one) for one in classes(reader(), texts, answers)]
        for side in "AB":
            row = rates[f"{side}, r̂ of {whose} set"]
            assert {name: getattr(row, name) for name in ("refused", "complied", "partial", "degenerate")} == {
                name: read.count(name) for name in ("refused", "complied", "partial", "degenerate")
            }
        seen.append(sorted(read))
    assert seen[0] != seen[1], "the two do different things"
    assert [(row.model, row.direction) for row in found.set_rates] == [
        ("A", "A"),
        ("A", "B"),
        ("B", "A"),
        ("B", "B"),
    ]
    for row in found.set_rates:
        target = (r if row.direction == "A" else near).mean_harmful
        assert (row.n, row.target, row.baseline_rate) == (24, pytest.approx(target), 0)
        assert row.rate == rates[f"{row.model}, r̂ of {row.direction} set"].rate


def test_a_model_that_was_not_taught_is_worse(taught, untaught):
    found = diff(chat(taught), chat(untaught), prompts(), SETTINGS)
    assert (found.outcome, found.exit_code) == ("worse", 1)
    row = found.change("harmful")
    assert (row.verdict, row.outcome) == ("worse", "worse")
    assert row.difference < -0.9
    assert row.ci_high < 0
    assert found.sentences[0].startswith("Worse: on harmful")
    assert [row.outcome for row in found.directions] == ["found", "no_refusal"]
    assert any(line.startswith("B has no r̂: ") for line in found.sentences)
    assert not any(row.removed for row in found.removals)
    assert {(row.model, row.direction) for row in found.removals} == {("A", "A"), ("B", "A")}


def test_more_over_refusal_is_worse_and_the_way_back_is_not(obliging, taught):
    """From the one that obliges everybody to the taught one: refusals of harmful prompts rise, which is better."""
    found = diff(chat(obliging), chat(taught), prompts(), SETTINGS)
    assert found.change("harmful").verdict == "better"
    assert found.change("harmful").difference > 0.9
    assert found.outcome == "no worse"
    [row, _] = found.directions
    assert row.outcome == "no_refusal"
    assert "«…»" in row.sentence, "the search quotes answers to harmful prompts"
    assert "Glad" not in json.dumps(found.plain())


def test_an_edit_in_memory_that_removes_r_is_worse_and_the_removal_is_named(taught, edited):
    found = diff(chat(taught), chat(edited), prompts(), SETTINGS)
    assert found.outcome == "worse"
    assert found.change("harmful").verdict == "worse"
    assert found.removal("B", "A").removed
    assert found.removal("B", "A").low == found.removal("B", "A").matrices == 11
    assert not found.removal("A", "A").removed
    [line] = [line for line in found.sentences if line.startswith("Removed: ")]
    assert line.startswith("Removed: r̂ of A was removed from the weights of B: 11 of 11 matrices")
    assert "in A 0 of 11" in line


class Opens:
    """Models given as functions, which load a copy; `loads` are the names in turn. No two are in memory at a time."""

    def __init__(self):
        self.alive, self.loads = [], []

    def __call__(self, name, hf):
        def load():
            gc.collect()
            assert [one() for one in self.alive if one() is not None] == []
            model = chat(copy.deepcopy(hf))
            self.alive.append(weakref.ref(model.hf))
            self.loads.append(name)
            return model

        return load


@pytest.fixture(scope="module")
def few(taught, tmp_path_factory):
    """A diff of the taught model with itself on few prompts: (the diff, names of models as they were loaded, folder of what is kept)."""
    opens, folder = Opens(), tmp_path_factory.mktemp("few")
    found = diff(opens("A", taught), opens("B", taught), prompts(8), DiffSettings(preset=SIZES), folder=folder)
    return found, opens.loads, folder


def test_too_few_prompts_are_undecided(few):
    found = few[0]
    assert (found.outcome, found.exit_code) == ("undecided", 3)
    assert {row.outcome for row in found.changes} == {"undecided"}
    assert found.change("harmful").prompts_needed > 8
    assert found.sentences[0].startswith("Undecided: ")


def test_only_one_model_is_in_memory_at_a_time(few, taught, untaught):
    """Models that are given as functions are let go of before the next is loaded; A's again for B's r̂, if it was found."""
    assert few[1] == ["A", "B", "A"]
    opens = Opens()
    diff(opens("A", taught), opens("B", untaught), prompts(8), DiffSettings(preset=SIZES))
    assert opens.loads == ["A", "B"]


def test_given_directions_are_used_and_nothing_is_searched(taught, r, monkeypatch):
    some = prompts(8)
    monkeypatch.setattr("rhat.diff.seen.find", lambda *_a, **_k: pytest.fail("searched"))
    found = diff(chat(taught), chat(taught), some, DiffSettings(preset=SIZES), directions=(r, -r))
    assert found.direction_cosine == pytest.approx(-1)
    assert found.directions[0].sentence.endswith(f"was given: layer {r.layer}, position {r.position}")
    with pytest.raises(StudyError, match="got 1, expected two"):
        diff(chat(taught), chat(taught), some, directions=(r,))


def test_models_of_different_shape_are_compared_as_far_as_they_can_be(taught):
    """Refusal is; what needs one width is left out, and that is said."""
    other = refusing_hf(steps=0, n_layers=3, hidden_size=32)
    found = diff(chat(taught), chat(other), prompts(8), DiffSettings(preset=SIZES))
    assert len(found.changes) == 4
    assert found.cosines == ()
    assert any("5 layers of 48 and 3 layers of 32" in note for note in found.notes)
    assert any("r̂ of A was not used in B: it is 48 wide" in note for note in found.notes)


def test_the_file_is_read_as_it_was_written_and_holds_no_answer(same, tmp_path):
    path = same.save(tmp_path / "new" / "diff.json")
    assert Diff.load(path) == same
    text = path.read_text("utf-8")
    assert "Sorry" not in text
    assert "Glad" not in text
    assert not any(p.text in text for p in prompts().prompts)
    found = json.loads(text)
    found["changes"][0]["b_rate"] = 1.5
    path.write_text(json.dumps(found))
    with pytest.raises(ArtifactError, match=r"changes.0.b_rate"):
        Diff.load(path)
    path.write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        Diff.load(path)


def test_finished_work_is_used_again(few, taught, monkeypatch):
    first, _, folder = few
    assert {path.parent.name for path in folder.rglob("*.piece")} == {"A", "B"}
    monkeypatch.setattr("rhat.scoring.tasks.answers.refusals", lambda *_a, **_k: pytest.fail("answered again"))
    monkeypatch.setattr("rhat.scoring.tasks.activations.capture", lambda *_a, **_k: pytest.fail("read again"))
    assert diff(chat(taught), chat(taught), prompts(8), DiffSettings(preset=SIZES), folder=folder) == first


def test_what_is_kept_holds_no_word_of_answers_to_harmful_prompts(taught, r, tmp_path):
    """r̂ whose means are unknown is not set, so that harmless prompts get no refusals that might be kept."""
    some = prompts(8)
    bare = rhat.Direction.of(r.unit, site=r.site, position=r.position)
    settings = DiffSettings(preset=SIZES)
    found = diff(chat(taught), chat(taught), some, settings, directions=(bare, bare), folder=tmp_path)
    assert found.change("harmful").a_rate > 0.9
    assert found.set_rates == ()
    assert "r̂ of A was not set in B: its harmful mean is unknown" in found.notes
    kept = [path.read_bytes() for path in tmp_path.rglob("*.piece")]
    assert any(b"Glad" in one for one in kept)
    assert not any(b"Sorry" in one for one in kept)


def test_prompts_without_a_test_split_are_rejected(taught):
    some = ContrastSet("none", tuple(p for p in prompts().prompts if p.split != "test"), 0)
    with pytest.raises(StudyError, match="got no harmful test prompts"):
        diff(chat(taught), chat(taught), some)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"preset": "huge"}, "expected one of quick"), ({"margin": 0}, "10 points"), ({"randoms": 20}, "at least 200")],
)
def test_settings_that_cannot_be_used(wrong, says):
    with pytest.raises(StudyError, match=says):
        DiffSettings(**wrong)
