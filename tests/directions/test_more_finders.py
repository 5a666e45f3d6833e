"""Finders against their formulas in numpy and scikit-learn, and what each finds of planted clouds."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import TruncatedSVD

from rhat.directions import Direction, random_direction
from rhat.directions.finders import FINDERS, finder_named, more_of
from rhat.directions.finders.means import category_cosines
from rhat.errors import ContrastError
from rhat.sites import Site

SITE = Site("resid_pre", 2)


def groups(seed=0, n=40, m=30, d=12):
    """Two groups with a gap, unequal in size, with correlated noise."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(d, d)) / d**0.5
    return rng.normal(size=(n, d)) @ mixing + rng.normal(size=d), rng.normal(size=(m, d)) @ mixing + rng.normal(size=d)


def found(name, positive, negative, **more):
    return finder_named(name, more)(torch.tensor(positive), torch.tensor(negative)).numpy()


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@given(st.integers(0, 200))
@settings(max_examples=25, deadline=None)
def test_a_projected_difference_has_nothing_along_the_harmless_mean(seed):
    positive, negative = groups(seed)
    d, mu = positive.mean(0) - negative.mean(0), negative.mean(0)
    vector = found("projected_difference", positive, negative)
    np.testing.assert_allclose(vector, (np.eye(len(mu)) - np.outer(mu, mu) / (mu @ mu)) @ d, atol=1e-10)
    assert abs(vector @ mu) < 1e-9


def test_a_projected_difference_from_a_mean_of_zero_is_the_difference():
    positive, negative = groups()
    negative = np.concatenate([negative, -negative])
    np.testing.assert_allclose(found("projected_difference", positive, negative), positive.mean(0), atol=1e-12)


@pytest.mark.parametrize("component", [0, 1, 4])
def test_paired_svd_is_that_of_scikit_learn_on_the_pairs(component):
    positive, negative = groups()
    pairs = positive[:30] - negative
    truth = TruncatedSVD(6, algorithm="arpack").fit(pairs)
    vector = found(f"paired_svd:{component}", positive, negative)
    axis = truth.components_[component]
    np.testing.assert_allclose(abs(cosine(vector, axis)), 1, atol=1e-9)
    assert (positive.mean(0) - negative.mean(0)) @ vector > 0
    said = more_of("paired_svd", torch.tensor(positive), torch.tensor(negative))["spectrum"]
    np.testing.assert_allclose(said["singular_values"][:6], truth.singular_values_, rtol=1e-9)
    np.testing.assert_allclose(said["shares"][:6], truth.singular_values_**2 / (pairs**2).sum(), rtol=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(40, 30, 12), (9, 8, 30), (2, 2, 5), (300, 200, 3)])
def test_whitened_is_scikit_learns_shrunk_covariance_solved_for_the_difference(n, m, d):
    """Below and above as many rows as dimensions: the same formula by two ways of inverting."""
    positive, negative = groups(3, n, m, d)
    rows = np.concatenate([positive - positive.mean(0), negative - negative.mean(0)])
    covariance, s = ledoit_wolf(rows, assume_centered=True)
    truth = np.linalg.solve(covariance, positive.mean(0) - negative.mean(0))
    np.testing.assert_allclose(found("whitened", positive, negative), truth, rtol=1e-8, atol=1e-10)
    assert more_of("whitened", torch.tensor(positive), torch.tensor(negative))["shrinkage"] == pytest.approx(s)


def test_whitened_of_rows_without_scatter_is_the_difference():
    positive, negative = np.full((4, 3), 2.0), np.full((5, 3), [1.0, 2.0, 3.0])
    np.testing.assert_allclose(found("whitened", positive, negative), [1, 0, -1])


@given(st.integers(0, 200), st.integers(0, 50))
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("name", ["mean_difference", "projected_difference", "paired_svd", "whitened"])
def test_turning_the_space_turns_what_is_found(name, seed, turn):
    positive, negative = groups(seed)
    q = ortho_group.rvs(positive.shape[1], random_state=turn)
    np.testing.assert_allclose(
        found(name, positive @ q, negative @ q), found(name, positive, negative) @ q, atol=1e-7, rtol=1e-7
    )


def test_a_category_is_the_difference_of_its_own_rows_and_the_matrix_that_of_numpy():
    positive, negative = groups()
    names = np.array(["weapons", "drugs", "hate", "drugs"] * 10)
    for name in ("drugs", "hate"):
        vector = found(f"category:{name}", positive, negative, categories=list(names))
        np.testing.assert_allclose(vector, positive[names == name].mean(0) - negative.mean(0), atol=1e-12)
    said = category_cosines(torch.tensor(positive), torch.tensor(negative), categories=list(names))
    assert (said["names"], said["rows"]) == (["drugs", "hate", "weapons"], [20, 10, 10])
    means = np.stack([positive[names == name].mean(0) - negative.mean(0) for name in said["names"]])
    units = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(said["cosines"], units @ units.T, atol=1e-12)


def test_categories_that_are_not_there_are_named():
    positive, negative = groups()
    with pytest.raises(ContrastError, match="category 'hat': expected one of drugs, hate"):
        found("category:hat", positive, negative, categories=["drugs", "hate"] * 20)
    with pytest.raises(ContrastError, match="got 3 categories of 40 positive rows"):
        found("category:hat", positive, negative, categories=["drugs"] * 3)
    with pytest.raises(ContrastError, match="needs categories beside the two groups"):
        found("category:hat", positive, negative)
    with pytest.raises(ContrastError, match=r"expected a category .* after a colon, category:CATEGORY"):
        finder_named("category", {"categories": []})


def test_false_refusal_has_nothing_along_r_and_is_the_formula():
    positive, negative = groups()
    harmful = groups(7)[0]
    r = harmful.mean(0) - negative.mean(0)
    r /= np.linalg.norm(r)
    v = positive.mean(0) - negative.mean(0)
    vector = found("false_refusal", positive, negative, harmful=torch.tensor(harmful))
    np.testing.assert_allclose(vector, v - (v @ r) * r, atol=1e-12)
    assert abs(vector @ r) < 1e-9
    harmful[3, 2] = np.nan
    with pytest.raises(ContrastError, match="not finite"):
        found("false_refusal", positive, negative, harmful=torch.tensor(harmful))


def test_a_given_vector_is_kept_and_turned_to_the_positive_side():
    positive, negative = groups()
    d = positive.mean(0) - negative.mean(0)
    vector = np.random.default_rng(5).normal(size=len(d))
    for own in (vector, -vector):
        kept = found("given", positive, negative, vector=torch.tensor(own))
        np.testing.assert_allclose(kept, vector * np.sign(vector @ d))
    for bad in (np.zeros(len(d)), np.full(len(d), np.nan), np.ones((2, len(d))), np.ones(3)):
        with pytest.raises(ContrastError, match="expected one finite vector of 12 numbers"):
            found("given", positive, negative, vector=torch.tensor(bad))


def test_controls_are_seeded_and_know_no_label():
    positive, negative = groups(n=400, m=400)
    np.testing.assert_allclose(abs(found("random:4", positive, negative)), abs(random_direction(12, 4)), atol=1e-6)
    both = np.concatenate([positive, negative])
    order = torch.randperm(800, generator=torch.Generator().manual_seed(2)).numpy()
    mixed = both[order[:400]].mean(0) - both[order[400:]].mean(0)
    np.testing.assert_allclose(abs(found("permuted:2", positive, negative)), abs(mixed), atol=1e-12)
    d = np.linalg.norm(positive.mean(0) - negative.mean(0))
    assert np.linalg.norm(found("permuted:2", positive, negative)) < 0.3 * d
    for name in ("random", "permuted"):
        vectors = [found(f"{name}:{seed}", positive, negative) for seed in (0, 1)]
        assert not np.allclose(*vectors)
        np.testing.assert_array_equal(vectors[0], found(name, positive, negative))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("random:x", "a whole number from 0 on"),
        ("random:-1", "a whole number from 0 on"),
        ("mean_difference:3", "takes nothing after a colon; write mean_difference"),
        ("paired_svd:40", "at least 41 rows"),
        ("som:99", "som: got neuron 99, expected 0 to "),
        ("mena", "expected one of mean_difference, "),
    ],
)
def test_what_is_written_wrong_is_told(written, said):
    positive, negative = groups()
    with pytest.raises(ContrastError, match=said):
        found(written, positive, negative)


ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("finding_page", ROOT / "docs" / "finding.py")
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)
two_clouds = page.two_clouds


def test_the_pages_table_of_planted_clouds_is_that_of_now():
    text = page.PAGE.read_text("utf-8")
    assert page.written(text) == text, "run python docs/finding.py"


def test_where_refusal_has_two_directions_the_difference_of_means_is_one_between_them():
    u, v, which, positive, negative = two_clouds()
    d = found("mean_difference", positive, negative)
    assert cosine(d, 3 * u + 2 * v) > 0.99
    across = (2 * u - 3 * v) / 13**0.5  # what the difference of means leaves of the plane
    assert abs(cosine(d, across)) < 0.1
    svd = [found(f"paired_svd:{i}", positive, negative) for i in (0, 1)]
    assert cosine(svd[0], u) > 0.95
    assert cosine(svd[1], v) > 0.95
    shares = more_of("paired_svd", torch.tensor(positive), torch.tensor(negative))["spectrum"]["shares"]
    assert shares[1] > 4 * shares[2]
    for name, axis in (("a", u), ("b", v)):
        categories = np.where(which == 0, "a", "b").tolist()
        assert cosine(found(f"category:{name}", positive, negative, categories=categories), axis) > 0.97


def test_the_map_has_neurons_in_both_clouds_and_none_in_between_with_many_rows():
    u, v, which, positive, negative = two_clouds()
    said = more_of("som", torch.tensor(positive), torch.tensor(negative))["map_report"]
    assert sum(said["rows"]) == len(positive)
    assert said["rows"] == sorted(said["rows"], reverse=True)
    vectors = [found(f"som:{i}", positive, negative) for i in range(len(said["rows"]))]
    near = {name: [cosine(x, axis) > 0.9 for x in vectors] for name, axis in (("u", u), ("v", v))}
    counts = np.array(said["rows"])
    for name, of in (("u", 0), ("v", 1)):
        assert counts[near[name]].sum() == (which == of).sum()
    d = found("mean_difference", positive, negative)
    np.testing.assert_allclose(said["cosines"], [cosine(x, d) for x in vectors], atol=1e-12)


def test_the_map_is_that_of_plain_numpy_loops():
    """The same algorithm, written neuron by neuron and row by row."""
    positive, negative = groups(n=20, m=5, d=4)
    places = [(c + (r % 2) * 0.5, r * np.sqrt(3) / 2) for r in range(4) for c in range(4)]
    centred = positive - positive.mean(0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    at = (np.array(places) - np.mean(places, 0)) / np.std(places, 0, ddof=1)
    neurons = np.repeat(positive.mean(0)[None], 16, 0)
    for k in (0, 1):
        axis = axes[k] * np.sign(axes[k][np.argmax(abs(axes[k]))])
        neurons = neurons + at[:, [k]] * axis * values[k] / np.sqrt(20)

    def nearest(x):
        return int(np.argmin([np.linalg.norm(x - m) for m in neurons]))

    for step in range(100):
        width = 2.0 * (0.3 / 2.0) ** (step / 99)
        winners = [nearest(x) for x in positive]
        moved = np.zeros_like(neurons)
        for j in range(16):
            weights = [
                np.exp(-(np.linalg.norm(np.subtract(places[j], places[w])) ** 2) / (2 * width**2)) for w in winners
            ]
            moved[j] = np.average(positive, axis=0, weights=weights)
        neurons = moved
    counts = np.bincount([nearest(x) for x in positive], minlength=16)
    best = neurons[int(np.argmax(counts))] - negative.mean(0)
    np.testing.assert_allclose(found("som", positive, negative), best, atol=1e-8)


def test_from_groups_takes_a_finders_option_and_keeps_what_it_says():
    positive, negative = (torch.tensor(side) for side in groups())
    d = Direction.from_groups(positive, negative, SITE, finder="paired_svd:1")
    np.testing.assert_allclose(d.unit, found("paired_svd:1", positive.numpy(), negative.numpy()), atol=1e-6)
    assert d.method == "paired_svd:1"
    assert len(d.extra["spectrum"]["shares"]) == 12
    names = ["a", "b"] * 20
    d = Direction.from_groups(positive, negative, SITE, finder="category:a", given={"categories": names})
    assert d.extra["category_cosines"]["names"] == ["a", "b"]
    assert Direction.from_groups(positive, negative, SITE).extra == {}


def test_a_finder_without_a_record_works_too(monkeypatch):
    monkeypatch.setitem(FINDERS, "first_row", lambda positive, negative: positive[0] - negative[0])
    positive, negative = groups()
    np.testing.assert_allclose(found("first_row", positive, negative), positive[0] - negative[0])
