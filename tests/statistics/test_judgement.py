import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rhat.errors import StatisticsError
from rhat.statistics import holm, judge, noninferior, paired_comparison, within_margin

TURNED = {"better": "worse", "worse": "better", "equivalent": "equivalent", "undecided": "undecided"}
ends = st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(lambda pair: (min(pair), max(pair)))


@pytest.mark.parametrize(
    ("interval95", "interval90", "margin", "holm_p", "word"),
    [
        ((0.07, 0.17), (0.08, 0.16), 0.1, 0.001, "better"),
        ((-0.17, -0.07), (-0.16, -0.08), 0.1, 0.001, "worse"),
        ((-0.04, 0.04), (-0.03, 0.03), 0.1, 1.0, "equivalent"),
        ((-0.17, 0.07), (-0.15, 0.05), 0.1, 0.4, "undecided"),
        ((0.01, 0.07), (0.02, 0.06), 0.1, 0.001, "better"),  # and within the margin: both hold
        ((0.01, 0.07), (0.02, 0.06), 0.1, 0.05, "equivalent"),  # Holm takes the difference back, not its size
        ((0.01, 0.30), (0.03, 0.27), 0.1, 0.05, "undecided"),
        ((0.01, 0.30), None, None, None, "better"),  # no p value, no margin: the interval alone
        ((0.0, 0.30), None, None, None, "undecided"),  # 0 itself is not left out
        ((-0.09, 0.05), (-0.1, 0.05), 0.1, 1.0, "undecided"),  # strictly inside
    ],
)
def test_a_judgement_by_hand(interval95, interval90, margin, holm_p, word):
    assert judge(interval95, interval90, margin, holm_p) == word


@given(ends, ends, st.floats(0, 1), st.none() | st.floats(0, 1))
def test_swapping_the_conditions_turns_the_judgement_round(wide, narrow, margin, p):
    turned = judge((-wide[1], -wide[0]), (-narrow[1], -narrow[0]), margin, p)
    assert turned == TURNED[judge(wide, narrow, margin, p)]


def test_sixteen_against_none_of_400_is_more_by_less_than_the_margin():
    """The case on which the study and the report once disagreed."""
    treatment, reference = np.zeros(400, dtype=bool), np.zeros(400, dtype=bool)
    treatment[:16] = True
    result = paired_comparison(treatment, reference, margin=0.10)
    assert (result.verdict, result.equivalent) == ("better", True)


def test_fourteen_against_four_of_100_in_a_family_of_seven_is_undecided():
    """The other one: the interval alone would say better."""
    treatment, reference = np.zeros(100, dtype=bool), np.zeros(100, dtype=bool)
    treatment[:14], reference[14:18] = True, True
    result = paired_comparison(treatment, reference, margin=0.10)
    assert result.verdict == "better"
    p = holm([result.mcnemar_p, *[1.0] * 6])[0]
    ends95, ends90 = (result.ci_low, result.ci_high), (result.ci90_low, result.ci90_high)
    assert judge(ends95, ends90, 0.10, p) == "undecided"


def test_the_one_sided_question():
    assert noninferior((-0.05, 0.4), 0.1)
    assert not noninferior((-0.1, 0.4), 0.1)
    assert not within_margin((-0.05, 0.4), 0.1)


@pytest.mark.parametrize("wrong", [(math.nan, 1.0), (0.0, math.inf), (0.2, 0.1)])
def test_ends_that_are_no_interval_are_rejected(wrong):
    with pytest.raises(StatisticsError, match="expected two finite ends, the lower first"):
        judge(wrong)
    with pytest.raises(StatisticsError, match="expected two finite ends"):
        judge((0.0, 1.0), wrong, 0.1)
