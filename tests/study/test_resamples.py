"""r̂ found again on samples of its topics: each is the direction that the sample gives, and what is said follows from them."""

import numpy as np
import pytest
import torch

from labs import tiny_lab
from rhat import results as contract
from rhat.capture import capture
from rhat.lab.measurement import topics_of
from rhat.lab.resampling import resampled
from rhat.questions import QUESTIONS
from rhat.results import records
from rhat.sites import Site
from rhat.statistics.pipeline import resampled_topics
from rhat.study import PRESETS
from rhat.study.config import PRESETS_OF

VERDICT = next(question for question in QUESTIONS if question.key == "stability").verdict


def test_each_direction_is_that_of_its_weighted_topics():
    """By weights of prompts, from one pass over them: means are linear."""
    lab = tiny_lab()
    site, x = Site("resid_pre", lab.direction.layer), {}
    for label in ("harmful", "harmless"):
        some, got = lab.finding.kept["train"][label], {}
        plan = lab.model.plan([p.text for p in some], share_prefix=False)

        def visit(rows, _logits, found, got=got):
            got.update(zip(rows.tolist(), found[site][:, 0].double(), strict=True))

        capture(lab.model, plan, [site], [lab.direction.position], visit)
        x[label] = torch.stack([got[i] for i in range(len(some))])
    rng = np.random.default_rng(lab.seed)
    for one in resampled(lab, 3):
        means = {}
        for split in ("train", "validation"):
            for label in ("harmful", "harmless"):
                at = resampled_topics(topics_of(lab.finding.kept[split][label]), rng)
                if split == "train":
                    weights = torch.tensor(np.bincount(at, minlength=len(x[label]))).double()
                    means[label] = weights @ x[label] / weights.sum()
        raw = means["harmful"] - means["harmless"]
        assert one.norm == pytest.approx(float(raw.norm()), rel=1e-6)
        torch.testing.assert_close(one.unit.double(), raw / raw.norm(), atol=1e-6, rtol=0)
        assert one.target == pytest.approx(float(means["harmful"] @ (raw / raw.norm())), rel=1e-6)
        assert (one.layer, one.position) == (lab.direction.layer, lab.direction.position)


def test_a_study_tells_what_its_effect_owes_to_its_prompts(studied):
    run = contract.load(studied)
    found, again = run.pipeline, run.resamples
    assert found.samples == 20
    assert found.reselected
    assert found.found == len(again) >= 2
    assert found.pipeline_ci_low <= found.ci_low <= found.difference <= found.ci_high <= found.pipeline_ci_high
    assert {row.effect.n for row in again} == {found.n}
    assert all(row.cosine <= 1 for row in again)
    told = " ".join((VERDICT(run).sentence, *VERDICT(run).reasons))
    assert "Found again on 20 samples of the topics that it was found on, r̂ is at layer" in told
    assert "if only the test prompts were others" in told


def changed(studied, **fields):
    held = contract.read(studied)
    held["pipeline"] |= fields
    return " ".join(VERDICT(records(held)).reasons)


def test_what_is_said_follows_the_interval_over_the_pipeline(studied):
    ends = {"difference": 0.4, "ci_low": 0.3, "ci_high": 0.5}
    clear = changed(studied, **ends, pipeline_ci_low=0.2, pipeline_ci_high=0.6, verdict="better")
    assert "[20.0, 60.0]" in clear
    assert "found on other such prompts makes it refuse more too" in clear
    wide = changed(studied, **ends, pipeline_ci_low=-0.1, pipeline_ci_high=0.9, verdict="undecided")
    assert "may have no effect" in wide
    assert "On 3 of them no candidate passes the rules." in changed(studied, samples=20, found=17)


def test_without_any_direction_that_is_all_that_is_said(studied):
    held = contract.read(studied)
    held["resamples"] = []
    held["pipeline"] = {"samples": 20, "found": 0, "same_place": 0, "reselected": True}
    held["pipeline"] |= {"n": 13, "difference": 0.0, "ci_low": -0.1, "ci_high": 0.1}
    assert "On 20 of them no candidate passes the rules." in " ".join(VERDICT(records(held)).reasons)


def test_quick_leaves_it_out():
    assert set(PRESETS) - set(PRESETS_OF["pipeline"]) == {"quick"}
