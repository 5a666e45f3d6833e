import numpy as np
import pytest
from scipy.stats import multinomial

from rhat.errors import StatisticsError
from rhat.statistics import equivalence_power, paired_comparison, prompts_needed, tango_interval


@pytest.mark.parametrize(("n", "power"), [(64, 0.11), (200, 0.87)])
def test_power_is_what_the_methods_say(n, power):
    assert round(equivalence_power(n, 0.20, 0.10), 2) == power


@pytest.mark.parametrize(
    ("n", "share", "margin"),
    [(30, 0.1, 0.15), (64, 0.2, 0.1), (40, 0.05, 0.1), (25, 0.0, 0.1), (64, 0.2, 0.5)],
)
def test_exact_power_is_the_sum_over_all_outcomes(n, share, margin):
    total = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            chance = multinomial.pmf([b, c, n - b - c], n, [share / 2, share / 2, 1 - share])
            if chance > 1e-9:
                interval = tango_interval(b, c, n, 0.90)
                total += chance * (-margin < interval.low and interval.high < margin)
    assert equivalence_power(n, share, margin, method="exact") == pytest.approx(total, abs=1e-5)


def test_exact_power_matches_simulated_comparisons():
    n, runs = 100, 600
    draws = np.random.default_rng(1).choice(3, size=(runs, n), p=[0.1, 0.1, 0.8])
    shown = np.mean([paired_comparison(row == 0, row == 1).equivalent for row in draws])
    power = equivalence_power(n, 0.2, 0.1, method="exact")
    assert abs(shown - power) < 4 * (power * (1 - power) / runs) ** 0.5


def test_the_two_methods_meet_as_prompts_grow():
    gaps = [
        equivalence_power(n, 0.2, margin) - equivalence_power(n, 0.2, margin, method="exact")
        for n, margin in ((64, 0.1), (256, 0.05), (6400, 0.01))
    ]
    assert gaps[0] > 0.02
    assert gaps[0] > gaps[1] > abs(gaps[2])
    assert abs(gaps[2]) < 0.005


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("margin", [0.1, 0.15])
def test_prompts_needed_reach_the_power(share, margin):
    n = prompts_needed(share, margin)
    assert equivalence_power(n, share, margin, method="exact") >= 0.80
    assert n >= share * (2.9264 / margin) ** 2
    if 0 < share < 1:
        assert equivalence_power(n - 10, share, margin, method="exact") < 0.80


def test_prompts_needed_follow_the_planning_formula_when_many():
    # 0.4 · ((1.6449 + 1.2816) / 0.03)² = 3806
    assert prompts_needed(0.4, 0.03) == pytest.approx(3806, rel=0.01)
    # (1.6449 + 1.2816)² · 0.4 / 0.01² = 34257
    assert prompts_needed(0.4, 0.01) == pytest.approx(34257, abs=10)


def test_without_discordant_pairs_the_interval_alone_decides():
    n = prompts_needed(0.0, 0.1)
    assert tango_interval(0, 0, n, 0.90).high < 0.1
    assert tango_interval(0, 0, n - 1, 0.90).high >= 0.1


def test_no_margin_no_number():
    assert prompts_needed(0.2, 0.0) is None
    assert paired_comparison([True, False], [True, True], margin=0.0).prompts_needed is None


def test_comparison_carries_the_number_for_its_own_share():
    treatment, reference = np.arange(50) < 20, (np.arange(50) >= 5) & (np.arange(50) < 25)
    assert paired_comparison(treatment, reference).prompts_needed == prompts_needed(10 / 50, 0.10)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: equivalence_power(0, 0.2, 0.1), "got n=0"),
        (lambda: equivalence_power(64, 1.2, 0.1), "discordant share: got 1.2"),
        (lambda: equivalence_power(64, 0.2, 0.0), "margin: got 0.0"),
        (lambda: equivalence_power(64, 0.2, 0.1, method="guess"), "expected one of normal, exact"),
        (lambda: prompts_needed(-0.1, 0.1), "discordant share: got -0.1"),
        (lambda: prompts_needed(0.1, 0.1, power=80), "80 % is power=0.80"),
        (lambda: prompts_needed(0.1, 10), "10 points is margin=0.10"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(StatisticsError, match=words):
        call()
