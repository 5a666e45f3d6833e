"""Which harmful prompts count as refused: the fitted score against scikit-learn, and both targets against plain transformers."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_curve

import rhat
from labs import contrast_set
from refusing import Lesson, refusing_hf
from rhat.scoring import judge_answers, last_token_scores
from rhat.selection import find
from rhat.selection.behaviour import behaviour_threshold, fitted_threshold
from rhat.selection.settings import FindSettings
from tiny import tiny_tokenizer


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_has_the_largest_youden_index(seed):
    order = np.random.default_rng(seed)
    refused = order.random(60) < 0.4
    scores = np.round(order.normal(-4 + 3 * refused, 1.5), 1)  # with ties
    found = fitted_threshold(scores, refused)
    fpr, tpr, _ = roc_curve(refused, scores)
    above = scores > found
    assert above[refused].mean() - above[~refused].mean() == pytest.approx((tpr - fpr).max())
    assert found not in scores


def test_where_scores_part_cleanly_the_threshold_is_halfway():
    assert fitted_threshold(np.array([-9.0, -8, -3, -2]), np.array([False, False, True, True])) == -5.5


def test_one_kind_alone_leaves_the_threshold_at_zero():
    for refused in (np.zeros(4, bool), np.ones(4, bool)):
        assert fitted_threshold(np.arange(4.0), refused) == 0
    assert fitted_threshold(np.zeros(4), np.array([True, False, True, False])) == 0


def test_it_is_fitted_within_harmful_prompts_where_enough_of_both_kinds_are_there():
    """Harmless scores lie far below; the threshold that parts the labels would take every harmful prompt as refused."""
    harmful = np.array([True] * 12 + [False] * 12)
    refused = np.array([True] * 6 + [False] * 18)
    scores = np.array([-2.0] * 6 + [-4.0] * 6 + [-20.0] * 12)
    assert behaviour_threshold(scores, refused, harmful) == -3
    few = refused.copy()
    few[:12] = [True] * 9 + [False] * 3
    scores[:12] = [-2.0] * 9 + [-19.0] * 3
    assert -19 < behaviour_threshold(scores, few, harmful) < -2


class TestFinding:
    @pytest.fixture(scope="class")
    def found(self):
        model = rhat.load((refusing_hf(lessons=[Lesson()], n_layers=3), tiny_tokenizer()))
        prompts = contrast_set(per_split=13)
        return model, prompts, find(model, prompts, FindSettings(token_prompts=12, min_kept=(4, 2)))

    def test_prompts_are_kept_by_what_the_model_does(self, found):
        """Held against plain generation, judged: scores above the threshold are those of refused prompts."""
        model, prompts, finding = found
        threshold = finding.direction.extra["score_threshold"]
        for label in ("harmful", "harmless"):
            given = prompts.select(label, "train")
            plan = model.plan([p.text for p in given])
            scores = last_token_scores(model, plan, finding.token_ids).numpy()
            said = []
            for tokens in plan.prompts:
                out = model.hf.generate(torch.tensor([list(tokens)]), max_new_tokens=24, do_sample=False)
                said.append(model.tokenizer.decode(out[0, len(tokens) :], skip_special_tokens=True))
            refused = np.array(judge_answers([p.text for p in given], said)) == "refused"
            np.testing.assert_array_equal(scores > threshold, refused)
            kept = {p.id for p in finding.kept["train"][label]}
            right = refused if label == "harmful" else ~refused
            assert kept == {p.id for p, keep in zip(given, right, strict=True) if keep}

    def test_both_targets_are_kept(self, found):
        model, prompts, finding = found
        d = finding.direction
        rows = []
        for tokens in model.tokenize([p.text for p in prompts.select("harmful", "train")]):
            states = model.hf(torch.tensor([list(tokens)]), output_hidden_states=True).hidden_states
            rows.append(states[d.layer][0, d.position].detach())
        everybody = float(d.project(torch.stack(rows)).mean())
        assert d.extra["mean_harmful_all"] == pytest.approx(everybody, rel=1e-3)
        assert d.mean_harmful == pytest.approx(d.extra["mean_harmful_all"], rel=0.5)
