"""The verdict's sentences are read from the rows: each is tried with its data turned round."""

import pytest

from rhat.errors import ArtifactError
from rhat.gauges.making import Seen, shifts_of
from rhat.gauges.rows import Cloud, Gauge, Gauges, Guarded, Inversion, Shift
from rhat.gauges.verdict import judged

SIZES = {"better": (0.5, 0.4, 0.6), "worse": (-0.5, -0.6, -0.4), "undecided": (0.1, -0.1, 0.3)}
OWN = {"judged_harmful": ("harmfulness", "refusal"), "refused": ("refusal", "harmfulness")}


def shift(measure, condition, reference, verdict, prompts="harmful"):
    difference, low, high = SIZES[verdict]
    unit = "share" if measure == "refused" else "log-odds"
    ids = {
        "measure": measure,
        "condition": condition,
        "reference": reference,
        "prompts": prompts,
        "n": 40,
        "unit": unit,
    }
    numbers = {"difference": difference, "ci_low": low, "ci_high": high, "p": 0.01, "holm_p": 0.02}
    return Shift.of({**ids, **numbers, "verdict": verdict})


def document(prompts="harmful", **verdicts):
    """A document whose rows have the verdicts given as MEASURE_REFERENCE; better unless given."""
    shifts = []
    for measure, (own, other) in OWN.items():
        for reference in ("baseline", other, "random"):
            word = verdicts.get(f"{measure}_{reference}", "better")
            shifts.append(shift(measure, own, reference, word, prompts))
        shifts.append(shift(measure, other, "baseline", "undecided", prompts))
    about = {"site": "resid_pre.3", "length": 2.0, "mean_harmful": 2.0, "mean_harmless": 0.0}
    model = {"name": "m", "revision_or_sha256": "0", "architecture": "A", "n_layers": 4, "d_model": 16}
    return Gauges.of(
        {
            "sentence": "",
            "sentences": (),
            "verdict": "not_shown",
            "rhat_version": "0",
            "model": {**model, "dtype": "float32", "weight_format": "x"},
            "prompts_fingerprint": "0",
            "seed": 0,
            "gauges": (
                Gauge.of({**about, "name": "harmfulness", "position": -5}),
                Gauge.of({**about, "name": "refusal", "position": -1}),
            ),
            "cosine": 0.3,
            "chance": 0.25,
            "question": ("a", "b"),
            "family": "all of them",
            "shifts": shifts,
        }
    )


@pytest.mark.parametrize("prompts", ["harmful", "harmless"])
def test_all_four_conditions_on_one_label_are_a_double_dissociation(prompts):
    said = judged(document(prompts))
    assert said["verdict"] == "dissociated"
    assert said["sentence"].startswith(
        f"Harmfulness and refusal come apart on {prompts} prompts (double dissociation): "
    )
    assert "the harmfulness direction moves the judgement of harm by +0.50 nats [0.40, 0.60]" in said["sentence"]
    assert "the refusal direction moves refusal by +50.0 points [40.0, 60.0]" in said["sentence"]


@pytest.mark.parametrize(
    ("row", "verdict", "says"),
    [
        (
            "judged_harmful_baseline",
            "undecided",
            "the judgement of harm on harmful prompts is not shown to be moved by the harmful",
        ),
        (
            "refused_baseline",
            "worse",
            "refusal on harmful prompts is moved away from the other side by the refusal direction (−50.0",
        ),
        (
            "judged_harmful_refusal",
            "worse",
            "is moved further by the refusal direction than by the harmfulness direction",
        ),
        (
            "refused_harmfulness",
            "undecided",
            "is not shown to be moved further by the refusal direction than by the harmfulness",
        ),
        (
            "refused_random",
            "undecided",
            "is not shown to be moved further by the refusal direction than by random directions",
        ),
    ],
)
def test_where_one_condition_fails_no_dissociation_is_shown_and_the_sentence_says_which(row, verdict, says):
    said = judged(document(**{row: verdict}))
    assert said["verdict"] == "not_shown"
    assert says in said["sentence"]
    assert said["sentence"].count("prompts") == 1  # the other measure is not at fault


def test_halves_on_different_labels_are_no_double_dissociation():
    one, other = document(refused_baseline="undecided"), document("harmless", judged_harmful_baseline="undecided")
    both = one.changed(shifts=(*one.shifts, *other.shifts))
    assert judged(both)["verdict"] == "not_shown"


def test_a_model_that_cannot_answer_the_question_is_named():
    rows = {"n_positive": 20, "n_negative": 20, "low": 0.4, "high": 0.7}
    able, unable, reversed_ = (
        document().changed(inversion=Inversion(**{**rows, **ends}))
        for ends in ({"auroc": 0.9, "low": 0.8, "high": 0.95}, {"auroc": 0.55}, {"auroc": 0.3, "low": 0.2, "high": 0.4})
    )
    assert any(
        "tells harmful from harmless test prompts with AUROC 0.90 [0.80, 0.95]" in s for s in judged(able)["sentences"]
    )
    assert any("is not shown to tell harmful from harmless" in s for s in judged(unable)["sentences"])
    assert any(
        "says so more readily of harmless test prompts than of harmful ones (AUROC 0.30 [0.20, 0.40])" in s
        for s in judged(reversed_)["sentences"]
    )


def test_guards_and_over_refused_prompts_are_told_as_they_are():
    areas = {"both": 0.8, "both_low": 0.7, "both_high": 0.9, "rhat": 0.6, "rhat_low": 0.5, "rhat_high": 0.7}
    gap = {"difference": 0.2, "difference_low": 0.1, "difference_high": 0.3, "n_positive": 9, "n_negative": 9}
    for verdict, says in (
        ("better", "does better on both gauges: AUROC 0.80 [0.70, 0.90] on both gauges, 0.60"),
        ("worse", "does worse on both gauges"),
        ("undecided", "is not shown to differ with the second gauge"),
    ):
        guard = Guarded.of({**areas, **gap, "negatives": "borderline", "verdict": verdict})
        assert any(says in sentence for sentence in judged(document().changed(guards=(guard,)))["sentences"])
    ends = {"harmfulness_low": -0.1, "harmfulness_high": 0.3, "refusal": 0.9, "refusal_low": 0.8, "refusal_high": 1.0}
    cloud = Cloud.of({"prompts": "borderline", "refused": True, "n": 7, "harmfulness": 0.1, **ends})
    [said] = [s for s in judged(document().changed(clouds=(cloud,)))["sentences"] if "refused borderline" in s]
    assert (
        "7 refused borderline prompts lie on average at 0.10 [−0.10, 0.30] on harmfulness and 0.90 [0.80, 1.00]" in said
    )
    answered = cloud.changed(refused=False)
    assert not any("refused borderline" in s for s in judged(document().changed(clouds=(answered,)))["sentences"])


def test_changes_are_turned_towards_the_other_side_and_adjusted_together():
    import numpy as np

    from studies import measured

    n = 12
    high, low = np.linspace(4, 5, n), np.linspace(-5, -4, n)
    topics = tuple(map(str, range(n)))

    def seen(label):
        harmful = label == "harmful"
        answers = {
            name: measured(name, label, [refused] * n)
            for name, refused in (
                ("baseline", harmful),
                ("harmfulness", harmful),
                ("refusal", not harmful),
                ("random", harmful),
            )
        }
        base, other = (high, low) if harmful else (low, high)
        values = {"baseline": base, "harmfulness": other, "refusal": base, "random": base + 0.01}
        return Seen(topics, topics, answers, values, np.zeros((n, 2)), np.zeros(n))

    rows = shifts_of({label: seen(label) for label in ("harmful", "harmless")})
    assert len(rows) == 16
    for row in rows:
        own = {"judged_harmful": "harmfulness", "refused": "refusal"}[row.measure]
        assert (row.verdict == "better") == (row.condition == own), row
        assert row.holm_p >= row.p
    smallest = min(rows, key=lambda row: row.p)
    assert smallest.holm_p == pytest.approx(min(1, 16 * smallest.p))


def test_a_file_that_is_no_such_document_is_named(tmp_path):
    path = document().save(tmp_path / "gauges.json")
    assert Gauges.load(path).verdict == "not_shown"
    path.write_text("{}")
    with pytest.raises(ArtifactError, match="not written by `rhat gauges`"):
        Gauges.load(path)
    with pytest.raises(ArtifactError, match="make one with `rhat gauges`"):
        Gauges.load(tmp_path / "none.json")
