"""Tuning and matching on a made-up lab whose score, rate and damage are known curves of the dose."""

import math

import numpy as np
import pytest

from rhat.lab import Lab, tuning
from rhat.lab.matching import matched_doses
from rhat.lab.tuning import DOSES, WIDER, best_of, tuned
from rhat.questions.repe.verdict import verdict


class Curves(Lab):
    """Scores and KL by (place, dose), as a lab gives them; every score that is asked for is counted."""

    def __init__(self, score, kl):
        self.score, self.kl, self.asked = score, kl, []

    def score_conditions(self, treatments, *_args, **_more):
        self.asked += treatments
        return [(np.full(4, self.score(*one)), np.full(4, self.kl(*one))) for one in treatments]


@pytest.fixture
def rated(monkeypatch):
    """`tuned` with refusal rates from a curve in place of answers."""

    def run(rate, score=lambda _place, dose: dose, kl=lambda _place, dose: dose**2, places=("a",)):
        def fill(_lab, row, _places, _n):
            row["validation_rate"] = rate(row["place"], row["dose"])

        monkeypatch.setattr(tuning, "_rate", fill)
        return tuned(Curves(score, kl), {p: lambda dose, p=p: (p, dose) for p in places}, 4, "t")

    return run


@pytest.mark.parametrize("peak", [0.02, 0.2, 3.0])
def test_the_grid_is_widened_until_the_best_is_inside(rated, peak):
    best, rows = rated(lambda _place, dose: 1 - abs(math.log(dose / peak)) / 10)
    doses = [row["dose"] for row in rows]
    assert best["inside"]
    assert min(doses) < best["dose"] < max(doses)
    assert best["dose"] / peak == pytest.approx(1, abs=0.45)


def test_a_best_that_runs_away_is_said_to_be_at_the_edge(rated):
    best, rows = rated(lambda _place, dose: 1 - 1 / (1 + dose))
    assert not best["inside"]
    assert len(rows) == len(DOSES) + WIDER


def test_of_settings_that_refuse_alike_the_gentlest_is_taken():
    rows = [
        {"place": "a", "dose": 0.8, "validation_score": 9.0, "validation_rate": 1.0, "kl_mean": 2.8},
        {"place": "b", "dose": 0.4, "validation_score": 2.0, "validation_rate": 1.0, "kl_mean": 0.9},
        {"place": "b", "dose": 0.2, "validation_score": 1.0, "validation_rate": 0.9, "kl_mean": 0.1},
    ]
    assert best_of(rows) is rows[1]


def test_gentle_settings_are_answered_too(rated):
    """With every place refusing at its smallest dose, the score alone would send only the most damaged into the final."""
    best, _ = rated(lambda _place, _dose: 1.0, places=tuple("abcd"), kl=lambda place, dose: dose**2 * (1 + ord(place)))
    assert best["place"] == "a"
    assert best["dose"] < min(DOSES)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_doses_of_equal_damage_are_those_of_the_known_curves(power):
    """KL = a · dose^p saturating at 12 nats: the dose that makes it 0.5 is known."""
    factors = {"isotropic": 1e-3, "other": 0.04, "rhat": 1.0}

    def kl(name, dose):
        return 12 * -math.expm1(-factors[name] * dose**power / 12)

    lab = Curves(lambda *_: 0.0, kl)
    makers = [lambda dose, name=name: (name, dose) for name in factors]
    found = matched_doses(lab, makers, [1.0] * 3, 0.5, "harmless", 4, rounds=8)
    for one, factor in zip(found, factors.values(), strict=True):
        truth = (12 * -math.log1p(-0.5 / 12) / factor) ** (1 / power)
        assert one.close
        assert abs(math.log(one.kl / 0.5)) <= 0.15
        assert one.dose == pytest.approx(truth, rel=0.2)
    assert len(lab.asked) < 8 * 3


def test_an_edit_that_does_no_damage_is_not_said_to_match():
    [found] = matched_doses(
        Curves(lambda *_: 0.0, lambda *_: 0.0), [lambda dose: ("x", dose)], [1.0], 0.5, "harmless", 4
    )
    assert not found.close


def test_the_headline_is_the_comparison_at_equal_damage(taught):
    """Tuned on the same prompts; the word and the sentence are of the two that do the same damage."""
    results = taught
    found = verdict(results)
    row = results.comparison("repe_equal_damage", "set_tuned", "harmless")
    assert found.word == row.verdict
    assert "At equal damage (KL " in found.sentence
    assert any("Setting, tuned on the same prompts in the same way" in reason for reason in found.reasons)
    repe = results.repe
    assert {row.dose for row in repe.table if row.layers == repe.best.layers} >= set(DOSES)
    assert len(repe.targets) >= len(DOSES)


def test_coefficients_grow_with_the_layers_raw_difference(lab):
    from rhat.questions.repe.measure import _places, reading_vectors

    places = _places(lab, reading_vectors(lab))
    span = max(places, key=lambda span: span[1] - span[0])
    edits = places[span](0.5)
    at = lab.means.positions.index(-1)
    for site, edit in edits.items():
        assert edit.value == pytest.approx(0.5 * float(lab.means.candidates[site.layer + 1, at].norm()))
    assert len({round(edit.value, 6) for edit in edits.values()}) == len(edits)


@pytest.fixture(scope="module")
def lab():
    from labs import tiny_lab

    return tiny_lab()


@pytest.fixture(scope="module")
def taught(lab):
    from rhat import results as contract
    from rhat.questions.repe.measure import repe

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rhat.questions.repe.measure.factorial", lambda *_: [])
        part = repe(lab).plain()
    head = {"schema_version": contract.SCHEMA_VERSION, "outcome": "found", "outcome_sentence": "made up"}
    return contract.records(head | {"model": lab.model.describe(), **part})
