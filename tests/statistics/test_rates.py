import numpy as np
import pytest
from scipy.stats import binom, binomtest
from statsmodels.stats.multitest import multipletests

from rhat.errors import StatisticsError
from rhat.statistics import holm, wilson


@pytest.mark.parametrize(("count", "n"), [(0, 5), (1, 7), (33, 64), (64, 64), (199, 200)])
@pytest.mark.parametrize("level", [0.90, 0.95])
def test_wilson_matches_scipy(count, n, level):
    truth = binomtest(count, n).proportion_ci(confidence_level=level, method="wilson")
    interval = wilson(count, n, level)
    assert (interval.estimate, interval.n) == (count / n, n)
    np.testing.assert_allclose([interval.low, interval.high], [truth.low, truth.high], atol=1e-12)


def test_wilson_matches_a_published_example():
    # Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263, method 3.
    interval = wilson(81, 263)
    np.testing.assert_allclose([interval.low, interval.high], [0.2553, 0.3662], atol=5e-5)


def test_wilson_covers_about_95_percent_at_a_small_n():
    n, rate = 64, 0.3
    covered = [wilson(k, n).low <= rate <= wilson(k, n).high for k in range(n + 1)]
    coverage = binom.pmf(np.arange(n + 1), n, rate)[covered].sum()
    assert 0.93 < coverage < 0.97


@pytest.mark.parametrize(
    ("count", "n", "level", "words"),
    [
        (0, 0, 0.95, "got n=0, expected at least one prompt; check the filter"),
        (5, 4, 0.95, "got count=5 of n=4, expected a whole number from 0 to 4; pass a count"),
        (-1, 4, 0.95, "got count=-1"),
        (0.5, 4, 0.95, "pass a count, not a rate"),
        (1, 4, 95, "got 95, expected between 0 and 1; 95 % is level=0.95"),
    ],
)
def test_wilson_refuses(count, n, level, words):
    with pytest.raises(StatisticsError, match=words):
        wilson(count, n, level)


def test_holm_by_hand_in_the_order_given():
    # 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04; its running maximum ends in 0.06.
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])


def test_holm_matches_statsmodels_and_stops_at_one():
    p = np.random.default_rng(0).uniform(size=9)
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])
    np.testing.assert_array_equal(holm([0.9, 0.8]), [1.0, 1.0])


@pytest.mark.parametrize(
    ("p", "words"),
    [([], "got 0 values"), ([0.1, np.nan], "got 1 NaN"), ([0.1, 1.2], "from 0.1 to 1.2, expected 0 to 1")],
)
def test_holm_refuses(p, words):
    with pytest.raises(StatisticsError, match=words):
        holm(p)
