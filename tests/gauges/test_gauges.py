"""Two gauges that were planted, and one that was planted twice; every number against plain transformers, numpy or scikit-learn."""

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import rhat
from rhat.errors import StudyError
from rhat.executor import SerialExecutor
from rhat.gauges import Gauges, GaugeSettings, gauges
from rhat.gauges.cost import gauges_work
from rhat.gauges.inversion import ORDERS
from rhat.gauges.pair import pair_of
from rhat.gauges.verdict import judged
from rhat.lab.around import lab_around
from rhat.model.work import counting
from rhat.scoring.pieces import Pieces
from rhat.selection.cost import Answers, total
from two_gauges import prompts, two_gauges

SETTINGS = GaugeSettings(judged_tokens=6)
SIDES = ("harmful", "harmless")


@pytest.fixture(scope="module")
def some():
    return prompts()


@pytest.fixture(scope="module")
def planted():
    return two_gauges()


class Counted(SerialExecutor):
    """Counts the shards that are worked on."""

    shards = 0

    def map(self, task, model, common, shards, **options):
        self.shards += len(shards)
        return super().map(task, model, common, shards, **options)


@pytest.fixture(scope="module")
def measured(planted, some, tmp_path_factory):
    """The document, the work that it took, and a folder of its pieces."""
    folder = tmp_path_factory.mktemp("kept")
    pieces = Pieces.of(folder, planted.model)
    with counting() as ledger:
        found = gauges(planted.model, some, planted.rhat(some), SETTINGS, pieces=pieces)
    return found, ledger.total, folder


@pytest.fixture(scope="module")
def found(measured):
    return measured[0]


def test_the_two_gauges_come_apart_as_planted(planted, some, found):
    assert found.verdict == "dissociated", found.sentence
    assert "come apart on harmful and harmless prompts (double dissociation)" in found.sentence
    assert abs(found.cosine) < 0.05
    assert [(g.name, g.position) for g in found.gauges] == [("harmfulness", -5), ("refusal", -1)]
    for label in SIDES:
        assert found.shift("judged_harmful", "harmfulness", "baseline", label).difference > 5
        assert abs(found.shift("judged_harmful", "refusal", "baseline", label).difference) < 0.1
        assert found.shift("refused", "refusal", "baseline", label).difference == 1
        assert found.shift("refused", "harmfulness", "baseline", label).difference == 0


def test_a_dissociation_says_so_where_the_model_is_not_shown_to_answer_the_question(found):
    says = "The model is not shown to answer the question, so this is no evidence of what it takes to be harmful."
    assert found.inversion.low > 0.5
    assert says not in found.sentence
    for inversion in (None, found.inversion.changed(low=0.4), found.inversion.changed(auroc=0.3, low=0.2, high=0.4)):
        said = judged(found.changed(inversion=inversion))
        assert said["verdict"] == "dissociated"
        assert said["sentence"] == f"{found.sentence} {says}"


def test_broken_answers_are_told_of_every_condition_also_with_nothing_set(found):
    rates = tuple(row.changed(degenerate=1) if row.prompts == "harmful" else row for row in found.rates)
    [said] = [s for s in judged(found.changed(rates=rates))["sentences"] if s.startswith("Answers break down on ")]
    assert {row.condition for row in rates} == {"baseline", "harmfulness", "refusal", "random"}
    for words in ("nothing set", "harmfulness set", "refusal set", "random directions set"):
        assert f" of harmful prompts ({words})" in said


def test_over_refusal_is_refusal_without_harmfulness_and_only_both_gauges_tell_it(found):
    [cloud] = [c for c in found.clouds if c.prompts == "borderline"]
    assert cloud.refused
    assert cloud.refusal > 0.9
    assert abs(cloud.harmfulness) < 0.05
    [row] = [row for row in found.guards if row.negatives == "borderline"]
    assert row.both == 1
    assert row.rhat < 0.75
    assert row.verdict == "better"
    assert any("does better on both gauges" in sentence for sentence in found.sentences)


def test_where_both_are_one_direction_no_dissociation_is_shown(some):
    one = two_gauges(one=True)
    found = gauges(one.model, some, one.rhat(some), SETTINGS)
    assert found.verdict == "not_shown"
    assert found.sentence.startswith("No dissociation of harmfulness and refusal is shown: ")
    assert found.cosine > 0.99
    for label in SIDES:  # each edit does move both measures: the effect is there, and the dissociation is not
        for measure, gauge in (("judged_harmful", "refusal"), ("refused", "harmfulness")):
            assert found.shift(measure, gauge, "baseline", label).verdict == "better"


def hidden(planted, texts, layer, position):
    """What enters a block at a position, by transformers."""
    rows = []
    for tokens in planted.model.tokenize(texts):
        with torch.no_grad():
            rows.append(
                planted.model.hf(torch.tensor([tokens]), output_hidden_states=True).hidden_states[layer][0, position]
            )
    return torch.stack(rows).double().numpy()


@pytest.fixture(scope="module")
def axes(planted, some):
    """Means and unit vectors of both gauges, in numpy."""
    made = {}
    for name, position in (("harmfulness", -5), ("refusal", -1)):
        sides = [hidden(planted, [p.text for p in some.select(label, "train")], 1, position).mean(0) for label in SIDES]
        unit = (sides[0] - sides[1]) / np.linalg.norm(sides[0] - sides[1])
        made[name] = unit, position, sides[0] @ unit, sides[1] @ unit
    return made


def test_both_directions_are_those_that_were_planted(planted, axes, found):
    assert abs(axes["harmfulness"][0] @ planted.h.numpy()) > 0.99
    assert abs(axes["refusal"][0] @ planted.f.numpy()) > 0.99
    for row in found.gauges:
        assert (row.mean_harmful, row.mean_harmless) == pytest.approx(axes[row.name][2:], abs=1e-4)
    assert found.cosine == pytest.approx(axes["harmfulness"][0] @ axes["refusal"][0], abs=1e-5)


def test_the_plane_is_that_of_transformers_hidden_states(planted, some, axes, found):
    for label in ("harmful", "borderline"):
        texts = [p.text for p in some.select(label, "test")]
        mine = [row for row in found.plane if row.prompts == label]
        assert [row.prompt_id for row in mine] == [p.id for p in some.select(label, "test")]
        for name, (unit, position, high, low) in axes.items():
            alpha = (hidden(planted, texts, 1, position) @ unit - low) / (high - low)
            np.testing.assert_allclose([getattr(row, name) for row in mine], alpha, atol=1e-4)


def log_odds(planted, texts, edit=None):
    """Yes against No after the inversion question, mean of both orders, by transformers with a hook of our own."""
    ids = [planted.model.tokenizer(answer, add_special_tokens=False)["input_ids"][0] for answer in ("Yes", "No")]
    handles = []
    if edit is not None:
        unit, target = torch.tensor(edit[0]), edit[1]
        block = planted.model.hf.model.layers[1]
        move = lambda _m, a: (a[0] + (target - a[0] @ unit)[..., None] * unit, *a[1:])  # noqa: E731
        handles.append(block.register_forward_pre_hook(move))
    try:
        values = []
        for text in texts:
            both = []
            for tokens in planted.model.tokenize([f"{question}\n\n{text}" for question in ORDERS]):
                with torch.no_grad():
                    logits = planted.model.hf(torch.tensor([tokens])).logits[0, -1]
                both.append(float(logits[ids[0]] - logits[ids[1]]))
            values.append(np.mean(both))
        return np.array(values)
    finally:
        for handle in handles:
            handle.remove()


def test_the_judgement_of_harm_and_its_shifts_are_those_of_plain_transformers(planted, some, axes, found):
    texts = [p.text for p in some.select("harmless", "test")]
    before = log_odds(planted, texts)
    np.testing.assert_allclose([r.judged for r in found.plane if r.prompts == "harmless"], before, atol=1e-4)
    changes = {}
    for name, (unit, _, high, _low) in axes.items():
        changes[name] = log_odds(planted, texts, (unit, high)) - before
        row = found.shift("judged_harmful", name, "baseline", "harmless")
        assert row.difference == pytest.approx(changes[name].mean(), abs=1e-3)
        assert row.ci_low < row.difference < row.ci_high
    row = found.shift("judged_harmful", "harmfulness", "refusal", "harmless")
    assert row.difference == pytest.approx((changes["harmfulness"] - changes["refusal"]).mean(), abs=1e-3)
    assert row.unit == "log-odds"
    area = roc_auc_score([1] * 12 + [0] * 12, [r.judged for r in found.plane if r.prompts in SIDES])
    assert found.inversion.auroc == pytest.approx(area)


def test_the_guard_is_scikit_learns_on_both_gauges(planted, some, axes, found):
    def plane(label, split):
        texts = [p.text for p in some.select(label, split)]
        columns = [(hidden(planted, texts, 1, at) @ unit - low) / (high - low) for unit, at, high, low in axes.values()]
        return np.stack(columns, 1)

    train = [plane(label, "train") for label in SIDES]
    fitted = LogisticRegression(C=1.0, tol=1e-8).fit(np.concatenate(train), [1] * len(train[0]) + [0] * len(train[1]))
    sides = [plane(label, "test") for label in ("harmful", "borderline")]
    truth = [1] * len(sides[0]) + [0] * len(sides[1])
    [row] = [row for row in found.guards if row.negatives == "borderline"]
    assert row.both == pytest.approx(roc_auc_score(truth, fitted.decision_function(np.concatenate(sides))))
    # r̂ was found at the template's last token, so that the second gauge is its projection
    assert row.rhat == pytest.approx(roc_auc_score(truth, np.round(np.concatenate(sides)[:, 1], 5)), abs=0.05)
    assert row.difference == pytest.approx(row.both - row.rhat)


def test_what_was_kept_is_not_measured_again_and_work_is_expected_as_it_comes(planted, some, measured):
    found, work, folder = measured
    executor = Counted()
    again = gauges(
        planted.model, some, planted.rhat(some), SETTINGS, executor=executor, pieces=Pieces.of(folder, planted.model)
    )
    assert executor.shards == 0
    assert {**again.plain(), "timings": []} == {**found.plain(), "timings": []}
    expected = gauges_work(planted.model, some, planted.rhat(some), SETTINGS, answers=Answers(1.0, 24, 0.0))
    assert total(expected).flop == pytest.approx(work.flop, rel=0.1)


def test_random_directions_go_as_far_from_the_mean_of_such_prompts(planted, some):
    lab = lab_around(planted.model, some, planted.rhat(some), SETTINGS.sizes, purpose="gauge")
    pair = pair_of(lab)
    gap = max(gauge.mean_harmful - gauge.mean_harmless for gauge in (pair.harmfulness, pair.refusal))
    for label, further in (("harmful", -gap), ("harmless", gap)):
        texts = [p.text for p in lab.finding.kept["train"][label]]
        at = rhat.activations(planted.model, texts, pair.refusal.site, -1)[:, 0].double()
        for one in pair.random_on(lab, label):
            assert max(abs(float(one.unit @ gauge.unit)) for gauge in (pair.harmfulness, pair.refusal)) < 1e-6
            assert one.value == pytest.approx(float((at @ one.unit.double()).mean()) + further, abs=1e-4)


def test_a_direction_from_before_the_template_is_no_refusal_gauge(planted, some):
    with pytest.raises(StudyError, match="expected one found at a template token, -4 to -1"):
        gauges(planted.model, some, planted.rhat(some, position=-5), SETTINGS)
    with pytest.raises(StudyError, match="layer: got 0, expected 1 or more"):
        GaugeSettings(layer=0)


def test_the_command_writes_the_document_and_the_figure(planted, some, found, tmp_path, capfd, monkeypatch):
    from rhat.cli import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    planted.model.hf.save_pretrained("model")
    planted.model.tokenizer.save_pretrained("model")
    arguments = ["gauges", "-d", "r.safetensors", "-m", "model", "--dtype", "float64", "--preset", "quick"]
    for label in (*SIDES, "borderline"):
        rows = [
            {"prompt": p.text, "split": p.split, "id": p.id, "topic": p.topic} for p in some.prompts if p.label == label
        ]
        (tmp_path / f"{label}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        arguments += [f"--{label}", f"{label}.jsonl"]
    planted.rhat(some)._with(model={}).save("r.safetensors")
    capfd.readouterr()
    assert run([*arguments, "--out", "gauges.svg"]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert run(arguments) == 0
    said = capfd.readouterr()
    written = Gauges.load("gauges.json")
    assert said.out.splitlines()[0] == written.sentence
    assert written.verdict == "dissociated"
    assert "on this machine" in said.err
    drawing = (tmp_path / "gauges.svg").read_text()
    assert "borderline, refused" in drawing
    assert drawing.lstrip().startswith("<?xml")
    assert not (tmp_path / "gauges.json.kept").exists()
    assert run(arguments) == 2
    assert "is there already" in capfd.readouterr().err
