"""Doses of a given KL on a tiny taught model, against plain transformers and numpy."""

import json
import math

import numpy as np
import pytest
import torch

import rhat
from benches import FORMULAS, Edited, files_of, kl, logits
from rhat.benching.courses import course_of
from rhat.errors import InterventionError, StatisticsError, StudyError
from rhat.statistics import crossing_dose
from rhat.vocabulary import OPERATORS


def plain_kl(model, texts, layer, edit):
    """Mean KL of the next token, by transformers' own model with an edit of what enters a block."""
    ids = model.tokenize(texts)
    base = logits(model, ids)
    with Edited(model, layer, edit):
        return kl(base, logits(model, ids))


OPERATORS_TRIED = ("add", "add_keeping_norm", "set_projection", "raise_projection")


@pytest.mark.parametrize("op", OPERATORS_TRIED)
def test_the_kl_at_the_dose_is_the_one_asked_for_by_plain_transformers(model, prompts, r, op):
    found = rhat.calibrate_dose(model, prompts, r, op, 0.3)
    assert (found.within, found.towards) == (True, "refusal")
    texts = [p.text for p in prompts.select("harmless", "validation")]
    plain = plain_kl(model, texts, r.layer, lambda x: FORMULAS[op](x, r.unit, found.dose))
    assert found.kl_mean == pytest.approx(plain, rel=1e-3)
    assert plain == pytest.approx(0.3, rel=0.1)
    assert found.dose_ci_low <= found.dose <= found.dose_ci_high
    assert found.ci_low < found.kl_mean < found.ci_high


def test_harmful_prompts_are_moved_towards_answers(model, prompts, r):
    found = rhat.calibrate_dose(model, prompts, r, "subtract", 0.3, label="harmful")
    assert found.towards == "answers"
    assert found.dose > 0
    negated = rhat.calibrate_dose(model, prompts, r, "add_keeping_norm", 0.3, label="harmful")
    assert negated.dose < 0
    assert negated.dose_ci_low <= negated.dose <= negated.dose_ci_high
    assert f"[−{-negated.dose_ci_low:.3g}" in negated.sentence


def test_what_no_dose_reaches_is_one_line_with_the_largest(model, prompts, r):
    with pytest.raises(StudyError, match=r"the largest is [\d.e-]+ nats, at 1; ask for another KL") as raised:
        rhat.calibrate_dose(model, prompts, r, "ablate_partially", 30.0, label="harmful")
    assert "\n" not in str(raised.value)
    [_, rest] = str(raised.value).split("the largest is ")
    largest = float(rest.split(" ")[0])
    kl = rhat.calibrate_dose(model, prompts, r, "ablate_partially", 0.9 * largest, label="harmful")
    assert kl.within


@pytest.mark.parametrize(
    ("op", "kl", "more", "error", "said"),
    [
        ("ablate", 0.2, {}, InterventionError, "takes no number"),
        ("fold", 0.2, {}, InterventionError, "expected one of"),
        ("add", 0.0, {}, StudyError, "expected a number of nats above 0"),
        ("add", 0.2, {"towards": "answers"}, InterventionError, "moves towards refusal only"),
        ("add", 0.2, {"scope": "generated"}, StudyError, "tokens of the answer alone"),
        ("add", 0.2, {"scope": "first_generated:3"}, StudyError, "tokens of the answer alone"),
        (
            "raise_projection",
            0.2,
            {"label": "harmful", "towards": "answers"},
            InterventionError,
            "towards refusal only",
        ),
    ],
)
def test_what_cannot_be_is_one_line(model, prompts, r, op, kl, more, error, said):
    with pytest.raises(error, match=said) as raised:
        rhat.calibrate_dose(model, prompts, r, op, kl, **more)
    assert "\n" not in str(raised.value)


def test_every_operator_with_a_number_says_which_way_it_goes():
    for operator in OPERATORS.values():
        assert (operator.parameter is None) == (operator.way is None), operator.name


@pytest.mark.parametrize("name", [o.name for o in OPERATORS.values() if o.way is not None])
def test_more_of_a_number_moves_projections_the_way_it_says(name):
    """On activations and a direction drawn at random: larger numbers mean larger projections where they go towards refusal."""
    operator = OPERATORS[name]
    generator = torch.Generator().manual_seed(0)
    r = torch.nn.functional.normalize(torch.randn(24, generator=generator, dtype=torch.float64), dim=0)
    x = torch.randn(200, 24, generator=generator, dtype=torch.float64) + 2 * r
    for side in ("refusal", "answers"):
        room = operator.way.room(side, 80.0 if operator.way.most == 180 else 1.0)
        if not room:
            continue
        start = 80.0 if operator.parameter.unit == "degrees" else 2.0
        amounts = [min(room, 30.0 if operator.parameter.unit == "degrees" else 2.0) * part for part in (0.25, 0.5, 1.0)]
        means = [float((operator(x, r, operator.way.number(a, side, start)) @ r).mean()) for a in amounts]
        assert means == sorted(means, reverse=side == "answers"), (side, means)
        assert len(set(means)) == 3
        if operator.way.still is not None:
            small = 1e-12 if math.isinf(operator.way.still) else 1e-9
            torch.testing.assert_close(
                operator(x, r, operator.way.number(small, side, start, 10.0)), x, atol=1e-6, rtol=0
            )


def test_nothing_done_is_a_kl_of_exactly_0_and_random_edits_rise(model, prompts, r):
    from rhat.benching.dose import kl_measure
    from rhat.directions import random_direction
    from rhat.executor import SerialExecutor
    from rhat.interventions import Intervention

    some = prompts.select("harmless", "validation")
    measure = kl_measure(model, some, r.layer, SerialExecutor(), lambda *_: None)
    still = {
        o.name: o.way.still
        for o in OPERATORS.values()
        if o.way and o.way.still is not None and math.isfinite(o.way.still)
    }
    treatments = [Intervention(name, r.unit, r.layer, value) for name, value in still.items()]
    for name, values in zip(still, measure(treatments), strict=True):
        assert (values == 0).all(), name
    for seed in range(4):
        unit = random_direction(model.d_model, seed, r.unit)
        kls = measure([Intervention("add", unit, r.layer, dose) for dose in (0.25, 0.5, 1.0, 2.0, 4.0)])
        means = [float(kl.mean()) for kl in kls]
        assert means == sorted(means)


def test_the_crossing_of_a_power_law_is_its_inverse_and_its_interval_that_of_the_delta_method():
    generator = np.random.default_rng(3)
    factor = generator.lognormal(0, 0.5, 60)
    doses = np.array([1.0, 1.5, 2.0, 3.0])
    found = crossing_dose(doses, 0.1 * factor * doses[:, None] ** 2, 0.3, draws=4000)
    assert found.estimate == pytest.approx(math.sqrt(3 / factor.mean()), rel=1e-9)
    relative = factor.std(ddof=1) / factor.mean() / math.sqrt(60) / 2
    assert (found.high - found.low) / found.estimate == pytest.approx(2 * 2.0 * relative, rel=0.1)
    doubled = crossing_dose(
        doses, np.repeat(0.1 * factor * doses[:, None] ** 2, 2, axis=1), 0.3, np.repeat(np.arange(60), 2), draws=4000
    )
    assert (doubled.low, doubled.high) == pytest.approx((found.low, found.high))  # twins of a topic tell nothing new


def test_its_interval_covers_the_true_dose():
    generator, covered = np.random.default_rng(5), 0
    doses = np.array([0.8, 1.0, 1.25])
    for seed in range(200):
        factor = generator.gamma(4, 1 / 4, 40)  # of mean 1: the true dose is 1
        found = crossing_dose(doses, 0.2 * factor * doses[:, None] ** 2, 0.2, draws=200, seed=seed)
        covered += found.low <= 1.0 <= found.high
    assert 182 <= covered <= 198


@pytest.mark.parametrize(
    "given", [([1.0], [[1.0, 2.0]], 1.0), ([1.0, 1.0], [[1.0, 2.0]] * 2, 1.0), ([1.0, 2.0], [[1.0, -2.0]] * 2, 1.0)]
)
def test_curves_that_are_none_are_rejected(given):
    with pytest.raises(StatisticsError, match="expected"):
        crossing_dose(*given)


def test_the_course_of_an_angle_ends_at_its_ends(r):
    assert course_of("set_angle", r, "harmless", "refusal").number(90.0) == 0.0
    assert course_of("set_angle", r, "harmful", "answers").room == 90.0


@pytest.mark.parametrize("label", ["harmful", "harmless"])
def test_an_angle_is_searched_for_from_that_of_the_prompts(model, prompts, r, label):
    """Harmful prompts lean towards r̂: a small change sets them a little further away, not beyond a right angle."""
    texts = [p.text for p in prompts.select(label, "validation")]
    at = rhat.activations(model, texts, r.site, r.position)[:, 0].double().mean(0)
    own = math.degrees(math.acos(float(at @ r.unit.double() / at.norm())))
    found = rhat.calibrate_dose(model, prompts, r, "set_angle", 0.02, label=label)
    assert (found.dose > own) is (found.towards == "answers")

    def turned(x):
        across = x - (x @ r.unit)[..., None] * r.unit
        across = across / across.norm(dim=-1, keepdim=True)
        angle = math.radians(found.dose)
        return x.norm(dim=-1, keepdim=True) * (math.cos(angle) * r.unit + math.sin(angle) * across)

    assert plain_kl(model, texts, r.layer, turned) == pytest.approx(0.02, rel=0.12)


def test_the_command_prints_the_dose_or_one_line(model, prompts, r, tmp_path, capfd, monkeypatch):
    from rhat.cli import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    common = ["calibrate-dose", *files_of(model, prompts, r)]
    assert run([*common, "--op", "add", "--kl", "0.3", "--format", "json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["dose"] == pytest.approx(rhat.calibrate_dose(model, prompts, r, "add", 0.3).dose, rel=1e-3)
    assert run([*common, "--op", "subtract", "--kl", "0.3", "--on", "harmful"]) == 0
    assert "towards answers, changes the next token" in capfd.readouterr().out
    assert run([*common, "--op", "ablate_partially", "--kl", "30", "--on", "harmful"]) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert "the largest is" in error
