"""Directions add, scale and turn round as the raw vectors norm · unit do, with the projections that numpy finds."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from rhat.directions import FINDERS, Direction
from rhat.errors import ContrastError, DirectionError
from rhat.sites import Site
from rhat.vocabulary import FINDER_KINDS

SITE = Site("resid_pre", 2)


def groups(seed, n=12, m=9, d=6, shift=2.0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, d)) + shift, generator.normal(size=(m, d))


def direction(seed, **changed):
    positive, negative = groups(seed, **changed)
    return Direction.from_groups(torch.tensor(positive), torch.tensor(negative), SITE)


def agrees(d, vector, positive, negative):
    """Against numpy: `vector` is what the direction stands for, the groups those of which it keeps the means."""
    unit = vector / np.linalg.norm(vector)
    np.testing.assert_allclose(d.unit.numpy(), unit, atol=1e-6)
    np.testing.assert_allclose(d.mean_harmful, (positive @ unit).mean(), atol=1e-6)
    np.testing.assert_allclose(d.mean_harmless, (negative @ unit).mean(), atol=1e-6)


@pytest.mark.parametrize("finder", [name for name, kind in FINDER_KINDS.items() if not kind.needs])
def test_from_groups_keeps_the_groups_means_and_points_to_the_positive_one(finder):
    positive, negative = groups(0)
    d = Direction.from_groups(torch.tensor(positive), torch.tensor(negative), SITE, finder=finder, position=-3)
    vector = FINDERS[finder](torch.tensor(positive), torch.tensor(negative)).numpy()
    agrees(d, vector, positive, negative)
    assert d.mean_harmful > d.mean_harmless
    np.testing.assert_allclose(d.norm, d.mean_harmful - d.mean_harmless)
    assert (d.site, d.position, d.method) == (SITE, -3, finder)


def test_a_difference_of_means_is_as_long_as_the_difference():
    positive, negative = groups(1)
    np.testing.assert_allclose(direction(1).norm, np.linalg.norm(positive.mean(0) - negative.mean(0)))


@given(st.floats(-5, 5).filter(lambda x: abs(x) > 1e-3), st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_arithmetic_is_that_of_the_raw_vectors(factor, seed):
    positive, negative = groups(seed)
    raw = positive.mean(0) - negative.mean(0)
    d = direction(seed)
    agrees(-d, -raw, positive, negative)
    agrees(factor * d, factor * raw, positive, negative)
    np.testing.assert_allclose((d * factor).norm, abs(factor) * np.linalg.norm(raw))
    other = Direction.from_means(torch.ones(6), *map(torch.tensor, (positive.mean(0), negative.mean(0))), SITE)
    agrees(d + other, raw + other.norm * np.ones(6) / np.sqrt(6), positive, negative)
    np.testing.assert_allclose(
        d.cosine(other), raw.sum() / np.linalg.norm(raw) / np.sqrt(6), atol=1e-6
    )  # ones(6) points from negative to positive here


def test_what_has_no_direction_is_rejected():
    d = direction(2)
    for nonsense in (0, float("nan"), float("inf")):
        with pytest.raises(DirectionError, match="finite number other than 0"):
            d * nonsense
    with pytest.raises(DirectionError, match="their sum is zero"):
        d + -d
    with pytest.raises(DirectionError, match="only those of one model, site and position"):
        d + Direction(d.unit, Site("resid_pre", 3), -1, 1.0, 1.0, 0.0)
    with pytest.raises(DirectionError, match="one width"):
        d.cosine(Direction(torch.tensor([1.0]), SITE, -1, 1.0, 1.0, 0.0))
    with pytest.raises(ContrastError, match="expected one of mean_difference"):
        Direction.from_groups(torch.ones(3, 2), torch.zeros(3, 2), SITE, finder="meen")
    with pytest.raises(ContrastError, match="same mean there"):
        Direction.from_groups(torch.ones(3, 2), torch.ones(3, 2), SITE)


def test_a_direction_prints_on_one_line():
    assert repr(direction(3)).startswith("Direction(resid_pre.2, position -1, mean_difference, of an unnamed model")
    assert "\n" not in repr(direction(3))
