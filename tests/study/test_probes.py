"""Probes of contrast pairs against a planted truth, plain noise, scikit-learn and numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from rhat import results as contract
from rhat.directions import fit_ccs, reduced_width
from rhat.errors import ContrastError
from rhat.lab.pairs import Pairs
from rhat.lab.probes import cross_validated, logistic_line, mean_line, probe_rows
from rhat.questions.finders.rows import Probe, Rows
from rhat.questions.finders.tables import tables
from rhat.questions.finders.verdict import verdict

D, LAYERS = 120, 3


def planted(n, seed, size, layer=1):
    """Pairs whose true side lies `size` further along axis 5 at one layer; elsewhere noise."""
    noise = torch.Generator().manual_seed(seed)
    truth = torch.arange(n) % 2 == 0
    yes, no = (torch.randn(n, LAYERS, D, generator=noise) for _ in range(2))
    yes[:, layer, 5] += size * truth
    no[:, layer, 5] += size * ~truth
    return Pairs(yes, no, truth, tuple(f"topic {i // 2}" for i in range(n)))


def told(rows):
    return {row["method"]: row for row in rows if row["chosen"]}


def result(rows):
    return contract.records(
        {
            "schema_version": contract.SCHEMA_VERSION,
            "outcome": "found",
            "outcome_sentence": "made up",
            "model": {"name": "m", "d_model": D, "n_layers": LAYERS + 1, "dtype": "float32", "family": "llama"},
            "finders": [
                {
                    "name": "lat",
                    "layer": 1,
                    "cosine_to_rhat": 0.5,
                    "test_accuracy": 0.5,
                    "ci_low": 0.4,
                    "ci_high": 0.6,
                    "n": 9,
                }
            ],
            "ccs": rows,
        }
    )


@pytest.mark.parametrize("n", [5, 8, 9, 96, 120])
def test_fewer_components_than_a_quarter_of_the_pairs(n):
    assert reduced_width(n) < n / 4 or n < 5
    assert reduced_width(n) + 1 >= n / 4


def test_in_all_dimensions_ccs_fits_noise_and_in_few_it_does_not():
    pairs = planted(96, 0, 0.0)
    sides = pairs.yes[:, 0], pairs.no[:, 0]
    every = fit_ccs(*sides).loss
    assert every < 0.01
    assert fit_ccs(*sides, components=reduced_width(96)).loss > 5 * every


def test_a_reduced_probe_is_the_probe_of_the_components_that_numpy_finds():
    pairs = planted(60, 1, 4.0)
    yes, no = (side[:, 1].double() for side in (pairs.yes, pairs.no))
    reduced = fit_ccs(yes, no, components=10, steps=60)
    a, b = (side.numpy() - side.numpy().mean(0) for side in (yes, no))
    axes = np.linalg.svd(a - b)[2][:10]
    signs = np.sign(
        (
            axes @ (torch.linalg.svd(yes - yes.mean(0) - (no - no.mean(0)), full_matrices=False).Vh[:10].numpy().T)
        ).diagonal()
    )
    axes = torch.tensor(axes * signs[:, None])
    inside = fit_ccs(yes @ axes.T, no @ axes.T, steps=60)
    for mine, theirs in zip(
        reduced.probabilities(yes, no), inside.probabilities(yes @ axes.T, no @ axes.T), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8)
    assert reduced.loss == pytest.approx(inside.loss, rel=1e-6)
    outside = torch.randn(D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    outside -= axes.T @ (axes @ outside)
    assert abs(float(reduced.weights @ outside)) < 1e-9


def test_too_many_components_are_rejected():
    with pytest.raises(
        ContrastError, match=r"got components=9 for 8 pairs in 120 dimensions, expected 1 to 8; reduced_width\(8\) is 1"
    ):
        fit_ccs(torch.randn(8, D), torch.randn(8, D), components=9)


def test_the_logistic_ceiling_is_scikit_learns():
    pairs = planted(40, 2, 2.0)
    x = (pairs.yes - pairs.no)[:, 1].double()
    weights, threshold = logistic_line(x, pairs.truth)
    scale = float(x.square().mean().sqrt())
    truth = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit((x / scale).numpy(), pairs.truth.numpy())
    np.testing.assert_allclose(weights.numpy() * scale, truth.coef_[0], rtol=1e-4, atol=1e-6)
    assert -threshold == pytest.approx(truth.intercept_[0], rel=1e-4, abs=1e-6)


def test_the_ceiling_of_means_is_half_way_between_them():
    x = torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    weights, threshold = mean_line(x, torch.tensor([True, True, False, False]))
    assert weights.tolist() == [3.0, 0.0]
    assert threshold == pytest.approx(4.5)


def test_folds_keep_groups_together():
    """Copies of a pair in one group teach nothing of it: accuracy on noise stays at chance, and rises where groups are cut."""
    noise = torch.randn(40, D, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    truth = torch.randint(0, 2, (40,), generator=torch.Generator().manual_seed(5)).bool()
    twice, both = noise.repeat(2, 1), truth.repeat(2)
    kept = [str(i % 40) for i in range(80)]
    cut = [f"{i % 40} {i // 40}" for i in range(80)]
    cut[40:] = cut[41:] + cut[40:41]  # copies lie in other folds
    order = torch.cat([torch.arange(40), (torch.arange(40) + 1) % 40 + 40])
    assert 0.25 < cross_validated(mean_line, twice, both, kept) < 0.75
    assert cross_validated(mean_line, twice[order], both[order], cut) > 0.9


def test_a_planted_signal_is_found_at_its_layer_with_and_without_labels():
    rows = probe_rows("statements", planted(120, 0, 5.0), planted(80, 9, 5.0), torch.eye(D)[5], 0)
    best = told(rows)
    assert {row["layer"] for row in best.values()} == {2}
    assert best["ccs"]["accuracy"] > 0.9
    assert abs(best["ccs"]["cosine_to_rhat"]) > 0.6
    assert max(best[m]["accuracy"] for m in ("mean_difference", "logistic") if m in best) > 0.95
    assert best["ccs_on_noise"]["verdict"] == "undecided"
    assert {row["layer"] for row in rows} == {1, 2, 3}
    found = verdict(result(rows))
    assert any("CCS tells these statements apart without labels." in reason for reason in found.reasons)


def test_a_signal_that_only_labels_find_is_told_as_one():
    """Beside a feature that parts the sides of each pair more clearly, and not by their truth, which CCS prefers."""
    train, test = planted(120, 0, 5.0), planted(80, 9, 5.0)
    for seed, pairs in enumerate((train, test)):
        coin = torch.randint(0, 2, (len(pairs.yes), 1), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
        pairs.yes[:, :, 7] += 15 * coin
        pairs.no[:, :, 7] -= 15 * coin
    rows = probe_rows("statements", train, test, torch.eye(D)[5], 0)
    best = told(rows)
    assert best["ccs"]["verdict"] != "better"
    assert any("labels find it; CCS, without labels, does not" in reason for reason in verdict(result(rows)).reasons)


def test_pairs_without_a_signal_are_not_said_to_carry_none_and_no_loss_is_told():
    rows = probe_rows("statements", planted(120, 0, 0.0), planted(80, 9, 0.0), torch.eye(D)[5], 0)
    reasons = " ".join(verdict(result(rows)).reasons)
    assert "No linear signal is shown in these pairs of statements: a probe that is given the labels of 120" in reasons
    assert "is not shown to be above chance either, so CCS's failure says nothing." in reasons
    assert "nothing to find" not in reasons
    assert "loss" not in reasons
    losses = {m: np.mean([r["loss"] for r in rows if r["method"] == m]) for m in ("ccs", "ccs_on_noise")}
    assert 0.4 < losses["ccs"] / losses["ccs_on_noise"] < 2.5


def test_where_ccs_is_above_chance_it_is_not_said_to_fail_whatever_the_ceiling():
    rows = probe_rows("statements", planted(120, 0, 5.0), planted(80, 9, 5.0), torch.eye(D)[5], 0)
    assert told(rows)["ccs"]["verdict"] == "better"
    rows = [row | {"verdict": "undecided"} if row["method"] in ("mean_difference", "logistic") else row for row in rows]
    reasons = verdict(result(rows)).reasons
    assert "CCS tells these statements apart without labels." in reasons
    assert not any("linear signal" in reason for reason in reasons)


def test_test_pairs_of_one_topic_are_one_cluster():
    """Five copies of each test pair in one topic: as many told right, and the interval of as many pairs as there are topics, or wider."""
    train, test = planted(60, 0, 2.0), planted(40, 9, 2.0)
    copies = Pairs(
        *(side.repeat_interleave(5, 0) for side in (test.yes, test.no)),
        test.truth.repeat_interleave(5),
        tuple(f"topic {i // 5}" for i in range(200)),
    )
    alone = replace(test, groups=tuple(map(str, range(40))))
    one, many = (probe_rows("statements", train, some, torch.eye(D)[5], 0) for some in (alone, copies))
    for single, row in zip(one, many, strict=True):
        if row["method"] == "ccs_on_noise":  # its noise is drawn anew for each pair
            continue
        assert row["accuracy"] == pytest.approx(single["accuracy"])
        assert (row["clusters"], row["n"]) == (40, 200)
        assert "clusters" not in single
        if 0 < row["accuracy"] < 1:
            assert row["icc"] == pytest.approx(1)
            assert row["design_effect"] >= 5
            assert row["ci_high"] - row["ci_low"] >= (1 - 1e-9) * (single["ci_high"] - single["ci_low"])
            assert Probe.of(row).design_effect == row["design_effect"]


def test_finders_take_topics_as_clusters(monkeypatch):
    from labs import tiny_lab
    from rhat.questions.finders import measure
    from rhat.statistics import dependence, wilson

    lab = tiny_lab()
    monkeypatch.setattr(measure, "_ccs", lambda _lab: [])
    for row in measure.finders(lab).plain()["finders"]:
        assert "design_effect" not in row
    kinds = [replace(p, topic=f"{p.label} {p.split} {i % 5}") for i, p in enumerate(lab.prompts.prompts)]
    lab.prompts = replace(lab.prompts, prompts=tuple(kinds))
    del lab.__dict__["testing"]
    lab.measurements.clear()
    lab._plans.clear()
    rows = measure.finders(lab).plain()["finders"]
    topics = [topic for label in ("harmful", "harmless") for topic in lab.topics(label, len(lab.testing[label]))]
    [row] = [row for row in rows if row["name"] == "mean_difference"]
    assert row["clusters"] == len(set(topics)) < row["n"]
    for row in rows:
        found = wilson(round(row["test_accuracy"] * row["n"]), row["n"], design_effect=row["design_effect"])
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((found.low, found.high))
    unit = lab.direction.unit.double()
    tests = {label: lab.testing[label][:, 1].double() @ unit for label in ("harmful", "harmless")}
    ends = [float((lab.training[label][:, 1] @ lab.direction.unit).mean()) for label in ("harmful", "harmless")]
    right = np.concatenate([(tests["harmful"] > sum(ends) / 2).numpy(), (tests["harmless"] <= sum(ends) / 2).numpy()])
    [row] = [row for row in rows if row["name"] == "mean_difference"]
    assert row["design_effect"] == pytest.approx(dependence(right, topics).design_effect)


def test_the_layer_is_chosen_without_test_pairs():
    train = planted(120, 0, 5.0)
    one, other = (
        told(probe_rows("statements", train, test, torch.eye(D)[5], 0))
        for test in (planted(80, 9, 5.0), planted(80, 10, 5.0, layer=0))
    )
    assert {row["layer"] for row in one.values()} == {row["layer"] for row in other.values()} == {2}


def test_two_tasks_never_share_a_column():
    rows = [
        row
        for name in ("requests", "statements")
        for row in probe_rows(name, planted(24, 0, 1.0), planted(24, 1, 1.0), torch.eye(D)[5], 0)
    ]
    captions = [table.caption for table in tables(result(rows))]
    assert captions == ["Finders", "Probes of pairs, requests", "Probes of pairs, statements"]


def test_the_study_tells_ccs_apart_from_finders_of_rhat(tiny_rows):
    assert "ccs" not in {row["name"] for row in tiny_rows["finders"]}
    for name in ("requests", "statements"):
        mine = [row for row in tiny_rows["ccs"] if row["set"] == name]
        assert {row["layer"] for row in mine} == {1, 2}
        assert {row["method"] for row in mine} == {"ccs", "pca", "mean_difference", "logistic", "ccs_on_noise"}
        assert len({row["layer"] for row in mine if row["chosen"]}) == 1
        assert all(row["components"] < max(row["n_pairs"] / 4, 1.01) for row in mine)
    assert all(Probe.of(row) for row in tiny_rows["ccs"])


@pytest.fixture(scope="module")
def tiny_rows():
    from labs import tiny_lab
    from rhat.study import EXPERIMENTS

    part = EXPERIMENTS["finders"](tiny_lab())
    assert isinstance(part, Rows)
    return part.plain()
