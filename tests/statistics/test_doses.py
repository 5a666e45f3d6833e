import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from rhat.errors import StatisticsError
from rhat.statistics import half_effect_dose


def test_straight_line_by_hand():
    result = half_effect_dose([0, 1, 2, 3], [0.1, 0.3, 0.7, 0.9], 100)
    assert result.estimate == pytest.approx(1.5)
    assert (result.below, result.above, result.n) == (1.0, 2.0, 100)
    assert (result.low_plateau, result.high_plateau, result.half_rate) == pytest.approx((0.1, 0.9, 0.5))
    assert result.low < 1.5 < result.high
    assert result.crossing_share == 1.0


def test_falling_rates_and_doses_out_of_order():
    result = half_effect_dose([3, 1, 0, 2], [0.1, 0.7, 0.9, 0.3], 100, increasing=False)
    assert result.estimate == pytest.approx(1.5)
    assert (result.low_plateau, result.high_plateau) == pytest.approx((0.1, 0.9))


def test_a_dip_is_pooled_as_scikit_learn_does_with_weights():
    doses, rates, counts = np.arange(5.0), np.array([0.0, 0.5, 0.2, 0.8, 1.0]), [50, 30, 60, 20, 50]
    fitted = IsotonicRegression().fit_transform(doses, rates, sample_weight=counts)
    assert fitted[1] == fitted[2] == pytest.approx(0.3)
    # From the pooled 0.3 at dose 2 to 0.8 at dose 3, 0.5 lies two fifths of the way.
    assert half_effect_dose(doses, rates, counts).estimate == pytest.approx(2.4)
    assert half_effect_dose(doses, rates, counts).n == 20


def test_flat_at_half_takes_the_middle():
    result = half_effect_dose([0, 1, 2, 4, 5], [0.0, 0.5, 0.5, 0.5, 1.0], 40)
    assert result.estimate == pytest.approx(2.5)
    assert (result.below, result.above) == (0.0, 5.0)


def test_no_effect_gives_none():
    assert half_effect_dose([0, 1, 2], [0.3, 0.3, 0.3], 50) is None
    assert half_effect_dose([0, 1, 2], [0.30, 0.34, 0.38], 50) is None
    assert half_effect_dose([0, 1, 2], [0.30, 0.34, 0.38], 50, min_effect=0.08) is not None
    # A rate that falls has no rising effect.
    assert half_effect_dose([0, 1, 2], [0.9, 0.5, 0.1], 50) is None


def test_interval_covers_and_narrows_and_is_seeded():
    # Piecewise straight truth, so that interpolation is exact: half way at dose 2.
    doses, truth = np.arange(5.0), np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    generator = np.random.default_rng(0)
    results = [half_effect_dose(doses, generator.binomial(100, truth) / 100, 100, draws=150, seed=k) for k in range(60)]
    assert np.mean([result.low <= 2 <= result.high for result in results]) > 0.85
    few, many = half_effect_dose(doses, truth, 30), half_effect_dose(doses, truth, 3000)
    assert many.high - many.low < (few.high - few.low) / 4
    assert half_effect_dose(doses, truth, 30, seed=0) == few
    assert half_effect_dose(doses, truth, 30, seed=1) != few


def test_weak_effects_say_how_often_they_vanish():
    result = half_effect_dose([0, 1, 2], [0.3, 0.36, 0.42], 30)
    assert 0.3 < result.crossing_share < 0.95


def test_a_step_is_bracketed_by_the_doses_around_it():
    result = half_effect_dose([0, 1, 2, 3], [0.0, 0.0, 1.0, 1.0], 64)
    assert (result.below, result.estimate, result.above) == (1.0, 1.5, 2.0)


@pytest.mark.parametrize(
    ("doses", "rates", "n", "options", "words"),
    [
        ([0, 1], [0.1], 5, {}, "got 1 values, expected at least 2"),
        ([0, 1, 2], [0.1, 0.2], 5, {}, "got 3 doses, 2 rates and 3 counts"),
        ([0, 1], [0.1, 0.9], [5, 5, 5], {}, "2 rates and 3 counts"),
        ([1, 1], [0.1, 0.9], 5, {}, "got a dose twice"),
        ([0, 1], [10, 90], 5, {}, "expected shares, 0 to 1"),
        ([0, 1], [0.1, np.nan], 5, {}, "got 1 NaN"),
        ([0, 1], [0.1, 0.9], 0, {}, "whole number of prompts"),
        ([0, 1], [0.1, 0.9], 2.5, {}, "whole number of prompts"),
        ([0, 1], [0.1, 0.9], 5, {"min_effect": 0.0}, "min_effect: got 0.0"),
        ([0, 1], [0.1, 0.9], 5, {"draws": 0}, "draws: got 0"),
    ],
)
def test_refusals(doses, rates, n, options, words):
    with pytest.raises(StatisticsError, match=words):
        half_effect_dose(doses, rates, n, **options)
