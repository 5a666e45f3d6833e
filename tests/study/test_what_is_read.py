"""What r̂ reads: against scikit-learn's bag of words, a planted category that r̂ cannot know, and hand-worked areas."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from labs import contrast_set
from rhat import results as contract
from rhat.lab import Lab
from rhat.lab.reading import Words, beside_words, transfer
from rhat.prompts import Prompt
from rhat.questions.projections.figures import transfer as transfer_figure
from rhat.questions.projections.rows import Rows
from rhat.questions.projections.verdict import _transfer, verdict
from rhat.statistics import auroc
from rhat.statistics.logistic import ridge_logistic
from rhat.statistics.paired_ranking import auroc_difference

RNG = np.random.default_rng(0)


def test_the_words_reference_is_scikit_learns_bag_of_words():
    some = contrast_set()
    texts = {label: [p.text for p in some.select(label, "train")] for label in ("harmful", "harmless")}
    tests = [p.text for label in texts for p in some.select(label, "test")]
    counts = CountVectorizer(binary=True, token_pattern=r"\w+(?:['’]\w+)?")
    x = counts.fit_transform(texts["harmful"] + texts["harmless"]).toarray()
    truth = np.arange(len(x)) < len(texts["harmful"])
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(x, truth)
    mine = Words(texts["harmful"], texts["harmless"])(tests)
    np.testing.assert_allclose(mine, model.decision_function(counts.transform(tests).toarray()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("penalty", [0.1, 1.0, 30.0])
def test_ridge_logistic_is_scikit_learns_with_more_features_than_rows(penalty):
    x = RNG.normal(size=(30, 80))
    y = x[:, 0] + RNG.normal(size=30) > 0.3
    weights, intercept = ridge_logistic(x, y, penalty)
    truth = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(x, y)
    np.testing.assert_allclose(weights, truth.coef_[0], rtol=1e-4, atol=1e-6)
    assert intercept == pytest.approx(truth.intercept_[0], rel=1e-4, abs=1e-6)


def test_a_difference_of_areas_is_that_of_both_areas():
    positive, negative = RNG.normal(1, 1, (2, 40)), RNG.normal(0, 1, (2, 50))
    truth = [1] * 40 + [0] * 50
    areas = [roc_auc_score(truth, np.concatenate([positive[i], negative[i]])) for i in (0, 1)]
    assert auroc_difference(tuple(positive), tuple(negative)).estimate == pytest.approx(areas[0] - areas[1])


def test_beside_a_score_that_never_varies_the_variance_is_delongs_of_the_other():
    positive, negative = RNG.normal(1, 1, 40), RNG.normal(0, 1, 50)
    found = auroc_difference((positive, np.zeros(40)), (negative, np.zeros(50)))
    area = auroc(positive, negative)
    logit = np.log(area.estimate / (1 - area.estimate))
    se = (np.log(area.high / (1 - area.high)) - logit) * area.estimate * (1 - area.estimate)
    assert found.high - found.estimate == pytest.approx(se, rel=1e-9)


def test_scores_that_rank_alike_do_not_differ():
    positive, negative = RNG.normal(1, 1, 40), RNG.normal(0, 1, 50)
    found = auroc_difference((positive, 3 * positive + 1), (negative, 3 * negative + 1))
    assert (found.low, found.estimate, found.high) == (0, 0, 0)


def test_intervals_of_paired_areas_hold_the_truth_as_often_as_they_say():
    """Two scores that share half of their noise and have the same true area: 95 % of 300 intervals hold 0, within three errors."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(300):
        sides = []
        for n, shift in ((60, 1.0), (70, 0.0)):
            shared = rng.normal(shift, 1, n)
            sides.append((shared + rng.normal(0, 1, n), shared + rng.normal(0, 1, n)))
        found = auroc_difference(*sides)
        held += found.low <= 0 <= found.high
    assert 0.91 <= held / 300 <= 0.985


def test_prompts_of_one_topic_are_one_cluster_in_a_difference_of_areas():
    """Three copies of each prompt in one topic tell what one of them tells; taken as prompts of their own they claim more."""
    sides = [tuple(RNG.normal(shift, 1, (2, n))) for n, shift in ((30, 1.0), (40, 0.0))]
    alone = auroc_difference(*sides)
    thrice = [tuple(np.tile(scores, 3) for scores in side) for side in sides]
    topics = [f"p{i}" for i in range(30)] * 3, [f"n{i}" for i in range(40)] * 3
    found = auroc_difference(*thrice, groups=topics)
    assert (found.low, found.estimate, found.high) == pytest.approx((alone.low, alone.estimate, alone.high))
    assert found.n == 210
    naive = auroc_difference(*thrice)
    assert naive.high - naive.low < 0.65 * (found.high - found.low)
    own = auroc_difference(*sides, groups=(range(30), range(30, 70)))
    assert (own.low, own.high) == pytest.approx((alone.low, alone.high))
    one = auroc_difference(*sides, groups=(["p"] * 30, range(40)))
    assert (one.low, one.high) == (-1, 1)


def planted_lab(d=12, per_category=12):
    """Harmful prompts of categories a and b lie along axis 0, those of c along axis 1; r̂ without c cannot know of axis 1."""
    noise = torch.Generator().manual_seed(0)
    prompts, rows = {}, {}
    for split in ("train", "test"):
        prompts[split], rows[split] = {}, {}
        for label, names in (("harmful", "abc"), ("harmless", "x")):
            n = per_category * (1 if label == "harmful" else 4)
            some = [
                Prompt(f"{name} {i} {split}", label, split, f"{split}-{label}-{name}-{i}", name)
                for name in names
                for i in range(n)
            ]
            x = torch.randn(len(some), 1, d, generator=noise)
            for i, p in enumerate(some):
                x[i, 0, {"a": 0, "b": 0, "c": 1}.get(p.category, 2)] += 5.0 * (label == "harmful")
            prompts[split][label], rows[split][label] = tuple(some), x
    known = {
        "finding": SimpleNamespace(kept={"train": prompts["train"]}),
        "direction": SimpleNamespace(layer=0),
        "training": rows["train"],
        "testing": rows["test"],
        "test": lambda _self, label, n: prompts["test"][label][:n],
    }
    return object.__new__(type("Planted", (Lab,), known))


def test_transfer_finds_the_category_that_is_another_direction():
    rows = {(row["left_out"], row["tested"]): row for row in transfer(planted_lab())}
    assert len(rows) == 9
    assert rows["a", "a"]["auroc"] > 0.95
    assert rows["b", "b"]["verdict"] == "better"
    assert rows["c", "c"]["auroc"] < 0.8
    assert rows["a", "c"]["auroc"] > 0.9
    assert rows["c", "a"]["auroc"] > 0.95


def test_a_cell_is_the_mean_difference_without_the_category():
    lab = planted_lab()
    row = next(r for r in transfer(lab) if (r["left_out"], r["tested"]) == ("b", "c"))
    harmful = lab.training["harmful"][:, 0].double().numpy()
    gap = np.delete(harmful, np.s_[12:24], 0).mean(0) - lab.training["harmless"][:, 0].double().numpy().mean(0)
    on = [lab.testing["harmful"][24:36, 0].double().numpy() @ gap, lab.testing["harmless"][:, 0].double().numpy() @ gap]
    assert row["auroc"] == pytest.approx(roc_auc_score([1] * 12 + [0] * 48, np.concatenate(on)))
    assert (row["n_positive"], row["n_negative"]) == (12, 48)


def test_every_area_by_words_has_its_interval_and_topics_widen_them():
    lab = planted_lab()
    own = [row for row in transfer(lab) if row["left_out"] == row["tested"]]
    assert all(row["words_ci_low"] <= row["words_auroc"] <= row["words_ci_high"] for row in own)
    some, harmless = lab.test("harmful", 36), lab.test("harmless", 48)
    merged = {
        "harmful": tuple(replace(p, topic=f"{p.category} {i % 3}") for i, p in enumerate(some)),
        "harmless": tuple(replace(p, topic=f"x {i % 8}") for i, p in enumerate(harmless)),
    }
    type(lab).test = lambda _self, label, n: merged[label][:n]
    rows = {(row["left_out"], row["tested"]): row for row in transfer(lab)}
    row = rows["c", "c"]
    harmful = lab.training["harmful"][:24, 0].double().numpy()
    gap = harmful.mean(0) - lab.training["harmless"][:, 0].double().numpy().mean(0)
    on = [lab.testing["harmful"][24:, 0].double().numpy() @ gap, lab.testing["harmless"][:, 0].double().numpy() @ gap]
    topics = [p.topic for p in merged["harmful"][24:]], [p.topic for p in merged["harmless"]]
    truth = auroc(*on, groups=topics)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((truth.low, truth.high))
    assert (truth.low, truth.high) != pytest.approx((auroc(*on).low, auroc(*on).high))


def test_prompts_without_categories_have_no_transfer():
    lab = planted_lab()
    kept = lab.finding.kept["train"]["harmful"]
    lab.finding.kept["train"]["harmful"] = tuple(Prompt(p.text, p.label, p.split, p.id) for p in kept)
    assert transfer(lab) == []


def result():
    some = planted_lab()
    refused = np.arange(36) % 3 > 0
    projected = np.where(refused, 2.0, 0.0) + np.random.default_rng(2).normal(size=36)
    head = {"schema_version": contract.SCHEMA_VERSION, "outcome": "found", "outcome_sentence": "made up"}
    model = {"name": "m", "d_model": 12, "n_layers": 3, "dtype": "float32", "family": "llama"}
    area = auroc(projected[refused], projected[~refused])
    within = {
        "comparison": "refused vs complied, harmful",
        "auroc": area.estimate,
        "ci_low": area.low,
        "ci_high": area.high,
    }
    within |= {"n_positive": 24, "n_negative": 12, "verdict": "better"}
    layer = {"layer": 1, "auroc": 0.9, "ci_low": 0.8, "ci_high": 0.95, "n": 90, "verdict": "better"}
    more = {"auroc": [layer], "auroc_within": [within], "transfer": transfer(some)}
    more["words"] = beside_words(some, projected, some.test("harmful", 36), refused)
    direction = {
        "site": "resid_pre.1",
        "layer": 1,
        "position": -1,
        "norm": 1.0,
        "method": "mean_difference",
        "harmful_mean": 1.0,
        "harmless_mean": 0.0,
    }
    return contract.records(head | {"model": model, "direction": direction, **more})


def test_the_headline_is_refused_against_complied_within_harmful_prompts():
    found = verdict(result())
    assert found.sentence.startswith(
        "Among harmful prompts alone the projection tells the refused from the complied ones with AUROC"
    )
    said = " ".join(found.reasons)
    assert "The words alone, by a logistic regression fitted on the same training prompts, reach" in said
    assert "the lowest is c with" in said
    assert "harmful from harmless prompts with AUROC 0.900" in said


def test_of_an_even_number_of_categories_the_median_is_between_the_middle_two():
    found = result()
    part = found.part(Rows)
    row = next(one for one in part.transfer if one.left_out == one.tested)
    some = [
        row.changed(left_out=name, tested=name, auroc=area, words_auroc=words)
        for name, area, words in (("a", 0.6, 0.9), ("b", 0.7, 0.5), ("c", 0.8, 0.6), ("d", 0.9, 0.7))
    ]
    told = " ".join(_transfer(SimpleNamespace(part=lambda _: part.changed(transfer=tuple(some)))))
    assert "a median AUROC of 0.750 over 4 categories" in told
    assert "words alone have a median of 0.650" in told


def test_the_matrix_has_every_cell():
    [heat] = transfer_figure(result()).data
    assert [len(row) for row in heat.z] == [3, 3, 3]
    assert heat.z[2][2] < min(heat.z[0][0], heat.z[1][1])
