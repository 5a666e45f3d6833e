import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa

import rhat.statistics
from rhat.errors import StatisticsError
from rhat.statistics import agreement, spearman, wilson


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_agreement_matches_scikit_learn(pairs):
    a, b = np.array(pairs).T
    result = agreement(a, b)
    assert result.share == wilson(int(np.sum(a == b)), len(a))
    if len(set(a) | set(b)) == 1:
        assert result.kappa is None
    else:
        assert result.kappa.estimate == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
        assert -1 <= result.kappa.low <= result.kappa.high <= 1


def test_kappa_by_hand():
    # Fleiss-style table: both 20, only a 5, only b 10, neither 15: p_o = 0.7, p_e = 0.5·0.6 + 0.5·0.4 = 0.5.
    a = np.repeat([True, True, False, False], [20, 5, 10, 15])
    b = np.repeat([True, False, True, False], [20, 5, 10, 15])
    result = agreement(a, b)
    assert (result.share.estimate, result.n) == (0.7, 50)
    assert result.kappa.estimate == pytest.approx(0.4)
    truth = cohens_kappa([[20, 5], [10, 15]])
    np.testing.assert_allclose([result.kappa.low, result.kappa.high], [truth.kappa_low, truth.kappa_upp])
    narrow = agreement(a, b, level=0.5).kappa
    assert result.kappa.low < narrow.low < 0.4 < narrow.high < result.kappa.high


def test_agreement_refuses():
    with pytest.raises(StatisticsError, match="got 1 and 2 values"):
        agreement([True], [True, False])
    with pytest.raises(StatisticsError, match="a: got 0 values"):
        agreement([], [])


def test_spearman_matches_scipy_with_bonett_and_wrights_error():
    generator = np.random.default_rng(0)
    x = generator.normal(size=30).round(1)
    y = x + generator.normal(size=30).round(1)
    result = spearman(x, y)
    r = spearmanr(x, y).statistic
    assert (result.estimate, result.n) == (pytest.approx(r), 30)
    error = np.sqrt((1 + r**2 / 2) / 27)
    np.testing.assert_allclose(
        np.arctanh([result.low, result.high]), np.arctanh(r) + 1.959964 * error * np.array([-1, 1]), rtol=1e-6
    )


def test_spearman_covers_about_95_percent():
    # Of bivariate normals with correlation ρ, Spearman's is 6/π · asin(ρ/2).
    generator = np.random.default_rng(1)
    truth = 6 / np.pi * np.arcsin(0.6 / 2)
    hits = []
    for _ in range(400):
        x = generator.normal(size=40)
        result = spearman(x, 0.6 * x + 0.8 * generator.normal(size=40))
        hits.append(result.low <= truth <= result.high)
    assert 0.91 < np.mean(hits) < 0.985


@pytest.mark.parametrize("n", [4, 10, 100])
def test_perfect_order_does_not_claim_certainty(n):
    up, down = spearman(np.arange(n), np.arange(n) ** 3), spearman(np.arange(n), -np.arange(n))
    assert (up.estimate, up.high) == (pytest.approx(1.0), 1.0)
    assert up.low < 1 - 6 / (n * (n**2 - 1))
    np.testing.assert_allclose([down.low, down.high], [-up.high, -up.low])


def test_spearman_refuses():
    with pytest.raises(StatisticsError, match="got y with all 4 values equal"):
        spearman([1, 2, 3, 4], [1, 1, 1, 1])
    with pytest.raises(StatisticsError, match="got 3 values, expected at least 4"):
        spearman([1, 2, 3], [1, 2, 3])
    with pytest.raises(StatisticsError, match="got 4 and 5 values"):
        spearman([1, 2, 3, 4], [1, 2, 3, 4, 5])


def test_import_loads_neither_scipy_nor_statsmodels_nor_torch():
    heavy = ("scipy", "statsmodels", "torch")
    code = f"import sys, rhat.statistics; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_exports_are_sorted_and_exist():
    assert rhat.statistics.__all__ == sorted(rhat.statistics.__all__)
    assert all(hasattr(rhat.statistics, name) for name in rhat.statistics.__all__)
