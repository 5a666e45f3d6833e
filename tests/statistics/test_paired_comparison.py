import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, multinomial, norm
from statsmodels.stats.contingency_tables import mcnemar

from rhat.errors import StatisticsError
from rhat.statistics import mcnemar_exact, paired_comparison, tango_interval
from rhat.statistics.score import score_statistic

Z95 = norm.ppf(0.975)


def verdicts(b, c, both, neither):
    treatment = [True] * b + [False] * c + [True] * both + [False] * neither
    reference = [False] * b + [True] * c + [True] * both + [False] * neither
    return np.array(treatment), np.array(reference)


@st.composite
def tables(draw):
    n = draw(st.integers(1, 400))
    b = draw(st.integers(0, n))
    return b, draw(st.integers(0, n - b)), n


@pytest.mark.parametrize(
    ("b", "c", "n", "level", "low", "high"),
    [
        # Fagerland, Lydersen and Laake 2014: airway hyper-responsiveness (Bentur et al. 2009).
        (1, 7, 21, 0.95, -0.5172, -0.0260),
        # The same, complete response after consolidation (Cavo et al. 2012); R's contingencytables.
        (6, 16, 161, 0.95, -0.1240, -0.0054),
        # R's PropCIs: scoreci.mp(25, 28, 618, 0.90), whose sign is c − b.
        (28, 25, 618, 0.90, -0.0148, 0.0247),
    ],
)
def test_tango_matches_published_examples(b, c, n, level, low, high):
    interval = tango_interval(b, c, n, level)
    assert interval.estimate == pytest.approx((b - c) / n)
    np.testing.assert_allclose([interval.low, interval.high], [low, high], atol=5.1e-5)


@pytest.mark.parametrize("n", [1, 2, 44, 10_000])
def test_tango_closed_forms_at_the_edges(n):
    square = Z95**2
    none = tango_interval(0, 0, n)
    np.testing.assert_allclose([none.low, none.high], np.array([-1, 1]) * square / (n + square), rtol=1e-7)
    every = tango_interval(n, 0, n)
    np.testing.assert_allclose([every.low, every.high], [(n - square) / (n + square), 1.0], rtol=1e-7)


def likelihood_score(b, c, n, delta):
    """The same statistic, its nuisance parameter found by searching the likelihood, not by the quadratic."""
    from scipy.optimize import minimize_scalar
    from scipy.special import xlogy

    def minus(q):
        rest = max(1 - 2 * q - delta, 0.0)
        return -(xlogy(b, q + delta) + xlogy(c, q) + xlogy(n - b - c, rest))

    q = minimize_scalar(minus, bounds=(max(0.0, -delta), (1 - delta) / 2), method="bounded", options={"xatol": 1e-12}).x
    return (b - c - n * delta) / np.sqrt(n * (2 * q + delta - delta**2))


@pytest.mark.parametrize(("b", "c", "n"), [(3, 9, 40), (0, 5, 30), (8, 0, 20), (10, 10, 64), (2, 1, 3)])
def test_score_at_the_limits_is_z_by_a_numerical_likelihood(b, c, n):
    interval = tango_interval(b, c, n)
    assert likelihood_score(b, c, n, interval.low) == pytest.approx(Z95, abs=1e-4)
    assert likelihood_score(b, c, n, interval.high) == pytest.approx(-Z95, abs=1e-4)


def test_score_at_zero_is_mcnemar():
    statistic = mcnemar([[5, 12], [4, 9]], exact=False, correction=False).statistic
    assert float(score_statistic(12, 4, 30, 0.0)) ** 2 == pytest.approx(statistic)


@given(tables())
def test_tango_is_antisymmetric_and_holds_its_estimate(table):
    b, c, n = table
    one, other = tango_interval(b, c, n), tango_interval(c, b, n)
    np.testing.assert_allclose([one.low, one.high], [-other.high, -other.low], atol=1e-9)
    assert -1 <= one.low <= one.estimate <= one.high <= 1
    assert one.high - one.low > 0.5 / n


@given(tables())
def test_tango_nests_by_level(table):
    narrow, wide = tango_interval(*table, 0.90), tango_interval(*table, 0.95)
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high
    assert wide.high - wide.low > narrow.high - narrow.low


@pytest.mark.parametrize("cells", [(0.10, 0.10), (0.15, 0.05), (0.30, 0.02)])
def test_tango_covers_about_95_percent_exactly_summed(cells):
    n, delta = 64, cells[0] - cells[1]
    b, c = np.meshgrid(np.arange(n + 1), np.arange(n + 1))
    possible = b + c <= n
    b, c = b[possible], c[possible]
    chance = multinomial.pmf(np.stack([b, c, n - b - c], 1), n, [*cells, 1 - sum(cells)])
    likely = chance > 1e-7
    covered = [
        interval.low <= delta <= interval.high
        for interval in (tango_interval(int(i), int(j), n) for i, j in zip(b[likely], c[likely], strict=True))
    ]
    assert 0.935 < chance[likely][covered].sum() < 0.965


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_matches_statsmodels_and_scipy(b, c):
    p = mcnemar_exact(b, c)
    assert p == pytest.approx(min(1.0, mcnemar([[0, b], [c, 0]], exact=True).pvalue))
    if b + c:
        assert p == pytest.approx(binomtest(c, b + c, 0.5).pvalue)


def test_comparison_by_hand():
    result = paired_comparison(*verdicts(b=12, c=3, both=20, neither=29))
    assert (result.n, result.b, result.c) == (64, 12, 3)
    assert result.discordant_share == pytest.approx(15 / 64)
    assert result.treatment_rate == pytest.approx(32 / 64)
    assert result.reference_rate == pytest.approx(23 / 64)
    assert result.difference == pytest.approx(9 / 64)
    # P(B ≤ 3 of 15) · 2 = 2 · (1 + 15 + 105 + 455) / 2^15
    assert result.mcnemar_p == pytest.approx(2 * 576 / 2**15)
    for low, high, level in (
        (result.ci_low, result.ci_high, 0.95),
        (result.ci90_low, result.ci90_high, 0.90),
    ):
        interval = tango_interval(12, 3, 64, level)
        assert (low, high) == (interval.low, interval.high)
    assert result.verdict == "better"
    assert result.noninferior
    assert not result.equivalent


@pytest.mark.parametrize(
    ("counts", "margin", "verdict", "equivalent", "noninferior"),
    [
        ({"b": 15, "c": 2, "both": 20, "neither": 27}, 0.10, "better", False, True),
        ({"b": 2, "c": 15, "both": 20, "neither": 27}, 0.10, "worse", False, False),
        ({"b": 6, "c": 7, "both": 20, "neither": 31}, 0.10, "undecided", False, False),
        # Not shown equivalent, yet shown not to be much less frequent.
        ({"b": 9, "c": 6, "both": 20, "neither": 29}, 0.10, "undecided", False, True),
        ({"b": 10, "c": 10, "both": 100, "neither": 280}, 0.10, "equivalent", True, True),
        # Significantly different and shown to be small: better, by less than the margin.
        ({"b": 20, "c": 4, "both": 100, "neither": 276}, 0.10, "better", True, True),
        ({"b": 20, "c": 4, "both": 100, "neither": 276}, 0.02, "better", False, True),
        ({"b": 0, "c": 0, "both": 3, "neither": 2}, 0.10, "undecided", False, False),
        ({"b": 0, "c": 0, "both": 30, "neither": 0}, 0.10, "equivalent", True, True),
        ({"b": 10, "c": 10, "both": 100, "neither": 280}, 0.0, "undecided", False, False),
    ],
)
def test_verdicts(counts, margin, verdict, equivalent, noninferior):
    result = paired_comparison(*verdicts(**counts), margin=margin)
    assert (result.verdict, result.equivalent, result.noninferior) == (verdict, equivalent, noninferior)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=120), st.sampled_from([0.1, 0.3]))
def test_swapping_the_conditions_turns_everything_round(pairs, margin):
    treatment, reference = np.array(pairs).T
    one = paired_comparison(treatment, reference, margin=margin)
    other = paired_comparison(reference, treatment, margin=margin)
    assert one.difference == -other.difference
    np.testing.assert_allclose([one.ci_low, one.ci90_low], [-other.ci_high, -other.ci90_high], atol=1e-9)
    assert (one.mcnemar_p, one.equivalent, one.prompts_needed) == (
        other.mcnemar_p,
        other.equivalent,
        other.prompts_needed,
    )
    turned = {"better": "worse", "worse": "better", "equivalent": "equivalent", "undecided": "undecided"}
    assert one.verdict == turned[other.verdict]


def test_level_moves_only_the_wide_interval():
    arrays = verdicts(b=12, c=3, both=20, neither=29)
    usual, wider = paired_comparison(*arrays), paired_comparison(*arrays, level=0.99)
    assert wider.ci_low < usual.ci_low
    assert (wider.ci90_low, wider.ci90_high) == (usual.ci90_low, usual.ci90_high)


def test_result_is_frozen():
    result = paired_comparison([True], [False])
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.margin = 0.5


@pytest.mark.parametrize(
    ("treatment", "reference", "margin", "words"),
    [
        ([True], [True, False], 0.1, "got 1 and 2 values, expected the same prompts .* align them"),
        ([], [], 0.1, "treatment: got 0 values, expected at least 1"),
        ([0.3, 1.0], [0, 1], 0.1, "got the value 0.3, expected True or False; pass verdicts"),
        ([np.nan, 1.0], [0, 1], 0.1, "got 1 NaN or infinite values out of 2"),
        ([[True]], [[True]], 0.1, r"got an array of shape \(1, 1\)"),
        (["yes"], [True], 0.1, "expected numbers"),
        ([True], [True], -0.1, "margin: got -0.1"),
        ([True], [True], 10, "10 percentage points is margin=0.10"),
        ([True], [True], float("nan"), "margin: got nan"),
    ],
)
def test_comparison_refuses(treatment, reference, margin, words):
    with pytest.raises(StatisticsError, match=words):
        paired_comparison(treatment, reference, margin=margin)


@pytest.mark.parametrize(("b", "c", "n"), [(-1, 0, 5), (3, 3, 5), (0, 0, 0), (0.5, 0, 5)])
def test_impossible_counts_are_refused(b, c, n):
    with pytest.raises(StatisticsError, match=r"discordant counts: got b=.* count the pairs"):
        tango_interval(b, c, n)
