"""The dose of half effect on the same prompts: covers where the bootstrap that takes doses for independent falls short."""

import numpy as np
import pytest
from scipy.stats import norm

from rhat.errors import StatisticsError
from rhat.statistics import half_effect_dose, mean_interval
from rhat.statistics.paired_doses import half_effect_of_prompts

DOSES = np.linspace(0, 3, 7)
RATES = np.array([0.05, 0.05, 0.25, 0.5, 0.75, 0.95, 0.95])  # half way at dose 1.5


def answers(rng, topics, size, agree, icc):
    """What a prompt answers at one dose is much like what it answers at another."""
    n = topics * size

    def latent(*shape):
        between = rng.normal(size=(*shape, topics)).repeat(size, axis=-1)
        return icc**0.5 * between + (1 - icc) ** 0.5 * rng.normal(size=(*shape, n))

    return agree**0.5 * latent() + (1 - agree) ** 0.5 * latent(len(DOSES)) < norm.ppf(RATES)[:, None]


@pytest.mark.parametrize(("agree", "icc"), [(0.9, 0.5), (0.0, 0.0)])
def test_it_covers_the_truth_where_doses_share_their_prompts(agree, icc):
    """200 studies of 63 prompts: the standard error is 1.5 points."""
    rng, hits = np.random.default_rng(0), []
    for _ in range(200):
        found = half_effect_of_prompts(DOSES, answers(rng, 21, 3, agree, icc), np.repeat(np.arange(21), 3))
        hits.append(found.low <= 1.5 <= found.high)
    assert np.mean(hits) > 0.91


def test_the_estimate_is_that_of_the_rates():
    table = answers(np.random.default_rng(1), 30, 1, 0.5, 0)
    own, plain = half_effect_of_prompts(DOSES, table), half_effect_dose(DOSES, table.mean(1), 30)
    assert (own.estimate, own.below, own.above, own.half_rate) == (
        plain.estimate,
        plain.below,
        plain.above,
        plain.half_rate,
    )
    order = [3, 0, 6, 1, 5, 2, 4]
    assert half_effect_of_prompts(DOSES[order], table[order]) == own


def test_its_ends_are_where_the_mean_contrast_becomes_clear():
    """By hand with two doses: answers are interpolated, and the plateaus are the doses themselves."""
    table, topics = np.array([[0] * 8 + [1] * 4, [0, 0] + [1] * 10]), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    found = half_effect_of_prompts([0, 1], table, topics)
    assert found.estimate == pytest.approx(0.5)
    for end, inside in ((found.low, 0.01), (found.high, -0.01)):
        for at, clear in ((end + inside, False), (end - inside, True)):
            if 0 <= at <= 1:
                one = mean_interval((1 - at) * table[0] + at * table[1] - table.mean(0), groups=topics)
                assert (one.low > 0 or one.high < 0) == clear


def test_no_effect_gives_none():
    assert half_effect_of_prompts(DOSES, np.zeros((7, 9))) is None


@pytest.mark.parametrize(
    ("table", "groups", "words"),
    [
        (np.zeros((6, 9)), None, r"shape \(6, 9\) for 7 doses"),
        (np.full((7, 9), 0.5), None, "a row of 0 and 1"),
        (np.eye(7, 9), ["a"] * 8, "got 8 for 9 prompts"),
    ],
)
def test_what_is_no_table_is_told(table, groups, words):
    with pytest.raises(StatisticsError, match=words):
        half_effect_of_prompts(DOSES, table, groups)
