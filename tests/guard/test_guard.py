"""The guard on tiny models: readings, thresholds and gates against truths computed another way."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import rhat
from rhat.directions import Direction
from rhat.errors import ArtifactError, DirectionError, InterventionError, StatisticsError
from rhat.generation import generate_tokens
from rhat.guard import (
    Calibration,
    Conditional,
    beside,
    by_gate,
    calibrate,
    evaluate,
    evaluate_projections,
    from_projections,
    prompt_projections,
    relax,
    strengthen,
)
from rhat.interventions import set_projection
from rhat.prompts import ContrastSet, Prompt
from rhat.sites import Site
from tiny import tiny_chat_model


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("llama")


@pytest.fixture(scope="module")
def direction(model):
    unit = torch.randn(model.d_model, generator=torch.Generator().manual_seed(1))
    return Direction(unit / unit.norm(), Site("resid_pre", 2), -2, 4.0, 3.0, -3.0)


PROMPTS = ["a stone", "the other river is near", "ten", "why is it so?", "a bridge and a boat", "and the rest"]


def truth(model, direction, prompts):
    """Projections by transformers' own hidden states, one prompt at a time."""
    found = []
    for tokens in model.tokenize(prompts):
        with torch.no_grad():
            hidden = model.hf(torch.tensor([tokens]), output_hidden_states=True).hidden_states[direction.layer]
        found.append(float(direction.project(hidden[0, direction.position])))
    return np.array(found)


def contrast(n=30):
    rows = [
        Prompt(f"{PROMPTS[i % 6]} {label} {i}", label, split, f"{label}{i}")
        for label in ("harmful", "harmless")
        for i, split in enumerate(["train", "validation", *["calibration"] * n, "test"])
    ]
    return ContrastSet("made up", tuple(rows), 0)


def test_prompt_projections_are_read_at_the_directions_site_and_position(model, direction):
    got = prompt_projections(model, direction, model.tokenize(PROMPTS))
    np.testing.assert_allclose(got, truth(model, direction, PROMPTS), atol=1e-9)


@pytest.mark.parametrize("prompts", [PROMPTS, ["a stone", "a stone"]])
def test_the_instructions_last_token_is_read_too(model, direction, prompts):
    """Also where it is among the first tokens that all prompts share."""
    earlier = replace(direction, position=-model.template_length - 1)
    got = prompt_projections(model, earlier, model.tokenize(prompts))
    np.testing.assert_allclose(got, truth(model, earlier, prompts), atol=1e-9)
    assert not np.isclose(got, truth(model, replace(direction, position=-model.template_length), prompts)).any()
    threshold = float(np.mean(got))
    conditional = strengthen(replace(earlier, mean_harmful=3.0, mean_harmless=-3.0), threshold)
    both = [
        torch.cat([rhat.logits(model, [prompt], intervention=how) for prompt in prompts])
        for how in (conditional, conditional.intervention, None)
    ]
    for gated, edited, plain, value in zip(*both, got, strict=True):
        torch.testing.assert_close(gated, edited if value > threshold else plain)


def test_a_position_outside_the_template_is_refused(model, direction):
    wrong = Direction(direction.unit, direction.site, -9, 1.0, 1.0, 0.0)
    with pytest.raises(DirectionError, match=r"position -9: .* has 4 template tokens"):
        prompt_projections(model, wrong, model.tokenize(PROMPTS))


def test_calibration_uses_the_calibration_split_alone(model, direction):
    prompts = contrast()
    made = calibrate(model, direction, prompts, 0.1)
    harmless = np.sort(truth(model, direction, [p.text for p in prompts.select("harmless", "calibration")]))
    assert made.threshold == pytest.approx(harmless[-3])  # 2 of 30 above: 3 of 31 with a new one
    assert made.false_positive_rate.estimate == pytest.approx(3 / 31)
    assert made.false_positive_rate.low < 3 / 31 < made.false_positive_rate.high
    harmful = truth(model, direction, [p.text for p in prompts.select("harmful", "calibration")])
    assert made.true_positive_rate.estimate == pytest.approx((harmful > made.threshold).mean())
    assert made.auroc.estimate == pytest.approx((harmful[:, None] > harmless[None]).mean())


def test_a_set_without_calibration_prompts_says_so(model, direction):
    with pytest.raises(StatisticsError, match="no harmful prompts in the calibration split"):
        calibrate(model, direction, contrast(0))


def test_other_prompts_than_the_directions_are_pointed_out(model, direction, caplog):
    found_elsewhere = Direction(direction.unit, direction.site, -1, 1.0, 1.0, 0.0, prompts="0123456789abcdef")
    calibrate(model, found_elsewhere, contrast())
    assert "other prompts or another split seed" in caplog.text


def test_a_calibration_is_saved_beside_its_direction_and_read_back(tmp_path, model, direction):
    made = calibrate(model, direction, contrast())
    path = made.save(beside(direction.save(tmp_path / "r.safetensors")))
    assert path.name == "r.guard.json"
    assert Calibration.load(path) == made
    assert made.check_belongs(Direction.load(tmp_path / "r.safetensors")) is made
    other = Direction(-direction.unit, direction.site, -2, 4.0, 3.0, -3.0)
    with pytest.raises(ArtifactError, match="calibration of another direction"):
        made.check_belongs(other)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "rhat-guard-1"}', '{"format": "other"}', '{"format": "rhat-guard-1", "roc": 3}']
)
def test_files_that_are_no_calibration_are_refused_in_one_line(tmp_path, text):
    path = tmp_path / "x.guard.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"x\.guard\.json: .*rhat calibrate") as caught:
        Calibration.load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_calibration_says_how_to_make_one(tmp_path):
    with pytest.raises(ArtifactError, match="rhat calibrate"):
        Calibration.load(tmp_path / "no.guard.json")


def test_the_rate_to_expect_covers_the_rate_on_new_prompts(direction):
    """Calibrated on 64 and measured on 100 000: the 95 % interval holds the true rate in about 95 % of the tries."""
    rng = np.random.default_rng(0)
    new = rng.normal(size=100_000)
    held = 0
    for _ in range(200):
        made = from_projections(rng.normal(2, 1, 64), rng.normal(size=64), 0.05, direction, {}, "")
        measured = evaluate_projections(made.threshold, [1.0], new)["false_positive_rate"]["estimate"]
        held += made.false_positive_rate.low <= measured <= made.false_positive_rate.high
    assert 180 <= held <= 199


def test_evaluate_counts_by_hand():
    said = evaluate_projections(1.0, harmful=[0.5, 1.0, 2.0, 3.0], harmless=[0.0, 1.0, 1.5], borderline=[2.0, 0.0])
    assert said["true_positive_rate"]["estimate"] == 0.5  # strictly above
    assert said["false_positive_rate"]["estimate"] == pytest.approx(1 / 3)
    assert said["borderline_flagged"] == {**said["borderline_flagged"], "estimate": 0.5, "n": 2}
    assert said["auroc"]["estimate"] == pytest.approx((1 + 1.5 + 3 + 3) / 12)


def test_evaluate_reads_prompts(model, direction):
    said = evaluate(model, direction, 0.0, PROMPTS[:3], PROMPTS[3:])
    values = truth(model, direction, PROMPTS)
    assert said["true_positive_rate"]["estimate"] == pytest.approx((values[:3] > 0).mean())
    assert said["false_positive_rate"]["estimate"] == pytest.approx((values[3:] > 0).mean())
    assert "borderline_flagged" not in said


def test_a_conditional_edits_only_prompts_on_its_side(model, direction):
    tokens = model.tokenize(PROMPTS)
    values = truth(model, direction, PROMPTS)
    threshold = float(np.median(values))
    plain = generate_tokens(model, tokens, max_new_tokens=6)
    for made, side in (
        (strengthen(direction, threshold), values > threshold),
        (relax(direction, threshold), values <= threshold),
    ):
        assert 0 < side.sum() < 6
        edited = generate_tokens(model, tokens, made.intervention.edits(model), max_new_tokens=6)
        got = generate_tokens(model, tokens, edits_per_prompt=made.per_prompt(model, tokens), max_new_tokens=6)
        assert [c.tokens for c in got] == [
            (e if on else p).tokens for e, p, on in zip(edited, plain, side, strict=True)
        ]
        assert got != plain
    assert strengthen(direction, 0.0).intervention.value == direction.mean_harmful
    assert relax(direction, 0.0).intervention.value == direction.mean_harmless


def test_by_gate_keeps_the_order_and_runs_each_prompt_once(model, direction):
    tokens = model.tokenize(PROMPTS)
    made = Conditional(set_projection(direction, 9.0), direction, float(np.median(truth(model, direction, PROMPTS))))
    opens = made.opens(model, tokens)
    runs = []

    def run(prompts, edits):
        runs.append((len(prompts), edits is not None))
        return generate_tokens(model, prompts, edits, max_new_tokens=4)

    got = by_gate(opens, tokens, made.intervention.edits(model), run)
    assert got == generate_tokens(model, tokens, edits_per_prompt=made.per_prompt(model, tokens), max_new_tokens=4)
    assert runs == [(3, True), (3, False)]


def test_impossible_gates_are_refused(direction):
    with pytest.raises(InterventionError, match="when 'beside'"):
        Conditional(set_projection(direction), direction, 0.0, "beside")
    with pytest.raises(InterventionError, match="got nan, expected a finite number"):
        Conditional(set_projection(direction), direction, float("nan"))


def test_too_few_calibration_prompts_are_warned_of(caplog, direction):
    rng = np.random.default_rng(0)
    from_projections(rng.normal(2, 1, 20), rng.normal(size=19), 0.05, direction, {}, "")
    assert not caplog.records
    from_projections(rng.normal(2, 1, 20), rng.normal(size=18), 0.05, direction, {}, "")
    assert "18 harmless calibration prompts cannot promise 5 %: expect 5.26 %" in caplog.text
    assert "give at least 19" in caplog.text
