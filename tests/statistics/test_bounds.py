"""Shares below a limit: against scipy's exact test, and by counting what the test does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rhat.errors import StatisticsError
from rhat.statistics import fewest_to_bound, prompts_to_bound, share_below_p


@given(n=st.integers(1, 300), data=st.data(), limit=st.floats(0.01, 0.99))
def test_the_p_value_is_that_of_the_exact_test(n, data, limit):
    count = data.draw(st.integers(0, n))
    expected = stats.binomtest(count, n, limit, alternative="less").pvalue
    assert share_below_p(count, n, limit) == pytest.approx(expected, abs=1e-12)


@given(n=st.integers(2, 200), data=st.data(), limit=st.floats(0.05, 0.5), effect=st.floats(1, 4))
def test_dependence_never_makes_a_claim_easier(n, data, limit, effect):
    count = data.draw(st.integers(0, n))
    assert share_below_p(count, n, limit, effect) >= share_below_p(count, n, limit)


def test_a_design_effect_of_two_is_half_as_many_prompts():
    assert share_below_p(4, 80, 0.2, 2.0) == pytest.approx(stats.binom.cdf(2, 40, 0.2))


@pytest.mark.parametrize(("limit", "level"), [(0.1, 0.95), (0.2, 0.95), (0.25, 0.9), (0.5, 0.5)])
def test_the_fewest_prompts_are_the_first_with_which_none_shows_it(limit, level):
    n = fewest_to_bound(limit, level)
    assert stats.binom.cdf(0, n, limit) <= 1 - level + 1e-12
    assert n == 1 or stats.binom.cdf(0, n - 1, limit) > 1 - level


@pytest.mark.parametrize(("share", "limit"), [(0.0, 0.1), (0.05, 0.1), (0.12, 0.2), (0.19, 0.2)])
def test_so_many_prompts_succeed_four_times_in_five(share, limit):
    n = prompts_to_bound(share, limit)
    drawn = np.random.default_rng(0).binomial(n, share, 4000)
    shows = {count: share_below_p(count, n, limit) <= 0.05 for count in set(drawn.tolist())}
    shown = np.mean([shows[count] for count in drawn.tolist()])
    assert shown >= 0.8 - 3 * np.sqrt(0.16 / 4000)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.09999])
def test_no_number_of_prompts_shows_what_is_not_so_or_hardly(share):
    assert prompts_to_bound(share, 0.1) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda: share_below_p(3, 2, 0.1),
        lambda: share_below_p(0, 0, 0.1),
        lambda: share_below_p(1, 2, 1.0),
        lambda: share_below_p(1, 2, 0.1, 0.5),
        lambda: fewest_to_bound(0.0),
        lambda: prompts_to_bound(1.5, 0.1),
    ],
)
def test_what_is_no_share_is_rejected_in_one_line(call):
    with pytest.raises(StatisticsError, match="got") as caught:
        call()
    assert "\n" not in str(caught.value)
