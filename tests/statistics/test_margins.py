"""p values of claims, against exact enumeration and plain computations; and the error rate of families of claims."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from rhat.errors import StatisticsError
from rhat.statistics import (
    direction_p,
    fixed_sequence,
    holm,
    holm_exclusive,
    margin_tests,
    mcnemar_exact,
    noninferior,
    tango_interval,
    within_margin,
)

tables = st.integers(20, 300).flatmap(
    lambda n: st.tuples(st.integers(0, n // 2), st.integers(0, n // 2), st.just(n), st.sampled_from([0.05, 0.1, 0.2]))
)


@given(tables)
@settings(max_examples=150, deadline=None)
def test_the_p_values_are_those_of_the_90_percent_interval(table):
    b, c, n, margin = table
    found, narrow = margin_tests(b, c, n, margin), tango_interval(b, c, n, 0.90)
    ends = narrow.low, narrow.high
    if min(abs(ends[0] + margin), abs(ends[1] - margin)) < 1e-9:
        return
    assert (found.equivalence_p < 0.05) == within_margin(ends, margin)
    assert (found.above_p < 0.05) == noninferior(ends, margin)
    turned = margin_tests(c, b, n, margin)
    assert turned.above_p == pytest.approx(found.below_p)


def test_the_score_is_that_of_maximum_likelihood_under_the_margin():
    """Tango's statistic by numeric maximisation of the trinomial likelihood, with no formula of ours."""
    b, c, n, margin = 9, 4, 120, 0.1

    def log_likelihood(q):  # probabilities of "only the reference" q, "only the treatment" q − margin, and the rest
        return -stats.multinomial.logpmf([b, c, n - b - c], n, [q - margin, q, 1 - 2 * q + margin])

    q = optimize.minimize_scalar(
        log_likelihood, bounds=(margin + 1e-9, 0.5), method="bounded", options={"xatol": 1e-12}
    ).x
    variance = n * (2 * q - margin - margin**2)
    expected = stats.norm.sf((b - c + n * margin) / variance**0.5)
    assert margin_tests(b, c, n, margin).above_p == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("q", [0.02, 0.05, 0.1])
def test_equivalence_is_falsely_claimed_in_about_5_percent(q):
    """Exact size at the margin, by enumerating every outcome. The score test is approximate: 6 % is the most it reaches here."""
    n, margin = 100, 0.1
    size = 0.0
    for b in range(n + 1):
        for c in range(min(n - b, 40) + 1):
            p = stats.multinomial.pmf([b, c, n - b - c], n, [q + margin, q, 1 - 2 * q - margin])
            if p > 1e-9 and margin_tests(b, c, n, margin).equivalence_p < 0.05:
                size += p
    assert 0.02 < size < 0.06


def test_a_direction_asks_for_as_much_as_a_difference():
    for b, c in itertools.product(range(8), range(8)):
        twice = min(1.0, 2 * stats.binom.sf(b - 1, b + c, 0.5)) if b + c else 1.0
        assert direction_p(b, c) == pytest.approx(twice if b >= c else 1.0)
        assert direction_p(b, c) == (mcnemar_exact(b, c) if b >= c else 1.0)


def test_nothing_is_smaller_than_a_margin_of_0():
    assert margin_tests(0, 0, 1000, 0.0).equivalence_p == 1.0
    for margin in (-0.1, 1.0, float("nan"), float("inf")):
        with pytest.raises(StatisticsError, match="margin: got"):
            margin_tests(0, 0, 10, margin)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_rows_of_one_hypothesis_are_holms(p):
    np.testing.assert_allclose([row[0] for row in holm_exclusive([[one] for one in p])], holm(p))


def test_exclusive_rows_by_hand():
    # Two rows of three nulls. Factor 2 until a row has none left: the second row is done at its third p, 0.02.
    one, other = holm_exclusive([[0.03, 0.5, 1.0], [0.001, 0.01, 0.02]])
    np.testing.assert_allclose(other, [0.002, 0.02, 0.04])
    np.testing.assert_allclose(one, [0.04, 0.5, 1.0])


def test_false_statements_of_a_family_stay_at_5_percent():
    """Seven comparisons a study, each with its worst truth (no difference, or one just at the margin): any false word."""
    generator = np.random.default_rng(5)
    n, margin, studies = 200, 0.1, 900
    false = 0
    for study in range(studies):
        rows, truths = [], []
        for k in range(7):
            truth = (study + k) % 3  # 0: no difference, 1: −margin, 2: +margin
            delta = (0.0, -margin, margin)[truth]
            low = 0.08
            b, c, _ = generator.multinomial(n, [low + max(delta, 0), low + max(-delta, 0), 1 - 2 * low - abs(delta)])
            tested = margin_tests(b, c, n, margin)
            rows.append([mcnemar_exact(b, c), tested.above_p, tested.below_p])
            truths.append(truth)
        adjusted = holm_exclusive(rows)
        false += any(row[truth] < 0.05 for row, truth in zip(adjusted, truths, strict=True))
    assert false / studies < 0.066  # 5 % and two standard errors


def test_a_fixed_sequence_stops_at_the_first_that_fails():
    np.testing.assert_array_equal(fixed_sequence([0.01, 0.2, 0.001]), [0.01, 0.2, 0.2])
    with pytest.raises(StatisticsError, match="fixed_sequence: got p values"):
        fixed_sequence([0.1, 1.2])
