"""Prompts of one topic: the correlation, and every interval and test with it; held against scipy, statsmodels and plain enumeration."""

import itertools

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from rhat.errors import StatisticsError
from rhat.statistics import (
    auroc,
    corrected_difference,
    corrected_rate,
    dependence,
    design_effect,
    margin_tests,
    mcnemar_exact,
    mean_interval,
    paired_comparison,
    sign_flip_p,
    tango_interval,
    wilson,
)
from rhat.statistics.misclassification import JudgeErrors

ERRORS = JudgeErrors(90, 100, 95, 100)


def alike(rng, share, topics, size, icc):
    """Verdicts of prompts whose topics have shares of their own: beta-binomial, with this intraclass correlation."""
    shares = np.full(topics, share)
    if icc:
        shares = rng.beta(share * (1 - icc) / icc, (1 - share) * (1 - icc) / icc, topics)
    return (rng.random((topics, size)) < shares[:, None]).ravel()


def test_the_correlation_is_that_of_the_analysis_of_variance():
    """scipy's F = MSB / MSW gives (F − 1) / (F + m₀ − 1); topics of different sizes."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(12), rng.integers(1, 7, 12))
    values = rng.normal(size=12)[groups] + rng.normal(size=len(groups))
    frame = pd.DataFrame({"group": groups, "value": values})
    sizes = frame.groupby("group").size()
    f = stats.f_oneway(*[part.value for _, part in frame.groupby("group")]).statistic
    middle = (len(frame) - (sizes**2).sum() / len(frame)) / (len(sizes) - 1)
    found = dependence(values, [f"topic {g}" for g in groups])
    assert found.icc == pytest.approx((f - 1) / (f + middle - 1))
    few = (stats.t.ppf(0.975, 11) / stats.norm.ppf(0.975)) ** 2
    assert found.design_effect == pytest.approx((1 + ((sizes**2).sum() / len(frame) - 1) * found.icc) * few)
    assert (found.n, found.clusters) == (len(frame), 12)


def test_prompts_that_are_alike_within_topics_are_worth_one_each():
    found = dependence([1, 1, 1, 0, 0, 0] * 100, np.repeat(np.arange(200), 3))
    assert found.icc == pytest.approx(1)
    assert found.design_effect == pytest.approx(3, rel=0.02)
    assert dependence([1, 0] * 30, np.repeat(np.arange(20), 3)).icc == 0  # less alike than by chance counts as 0
    assert dependence([1, 0, 1], ["a"] * 3) is None  # one topic tells nothing of others
    assert mean_interval([1, 0, 1], groups=["a"] * 3) == mean_interval([1, 0, 1])
    assert design_effect([1.0] * 60, np.repeat(np.arange(20), 3)) == 1


def test_one_prompt_a_topic_changes_nothing():
    rng = np.random.default_rng(0)
    a, b, alone = rng.random(40) < 0.6, rng.random(40) < 0.3, np.arange(40)
    assert dependence(a, alone) is None
    assert paired_comparison(a, b, groups=alone) == paired_comparison(a, b)
    values, others = rng.normal(1, 1, 40), rng.normal(size=40)
    plain, grouped = mean_interval(values), mean_interval(values, groups=alone)
    np.testing.assert_allclose([grouped.low, grouped.high], [plain.low, plain.high])
    plain, grouped = auroc(values, others), auroc(values, others, groups=(alone, alone + 100))
    np.testing.assert_allclose([grouped.low, grouped.high], [plain.low, plain.high])
    for k, n in ((0, 7), (3, 11), (12, 12), (15, 40)):
        assert sign_flip_p([1] * k + [-1] * (n - k), range(n)) == pytest.approx(mcnemar_exact(k, n - k))


def test_sign_flips_are_those_of_all_choices_of_signs():
    rng = np.random.default_rng(5)
    for _ in range(20):
        groups = rng.integers(0, 7, 18)
        differences = rng.integers(-1, 2, 18)
        sums = [differences[groups == g].sum() for g in np.unique(groups)]
        totals = [abs(sum(s * d for s, d in zip(signs, sums, strict=True)))
                  for signs in itertools.product((-1, 1), repeat=len(sums))]  # fmt: skip
        assert sign_flip_p(differences, groups) == pytest.approx(np.mean(np.array(totals) >= abs(sum(sums))))


def test_a_design_effect_is_fewer_prompts():
    """Twice as many prompts at a design effect of 2 say what one of each says."""
    for twice, once in (
        (wilson(40, 100, design_effect=2), wilson(20, 50)),
        (tango_interval(30, 10, 100, design_effect=2), tango_interval(15, 5, 50)),
        (corrected_rate(40, 100, ERRORS, design_effect=2), corrected_rate(20, 50, ERRORS)),
        (corrected_difference(30, 10, 100, ERRORS, design_effect=2), corrected_difference(15, 5, 50, ERRORS)),
    ):
        assert (twice.estimate, twice.low, twice.high) == pytest.approx((once.estimate, once.low, once.high))
        assert (twice.n, once.n) == (100, 50)
    assert margin_tests(6, 4, 100, 0.1, 2).equivalence_p == pytest.approx(margin_tests(3, 2, 50, 0.1).equivalence_p)


def test_a_mean_by_topic_matches_statsmodels():
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 9, 80)
    values = rng.normal(size=9)[groups] + rng.normal(size=80)
    fit = sm.OLS(values, np.ones(80)).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True}, use_t=True
    )
    found = mean_interval(values, groups=[str(g) for g in groups])
    # statsmodels' correction has (n − 1) / (n − 1) besides G / (G − 1): nothing for an intercept alone.
    np.testing.assert_allclose([found.low, found.high], fit.conf_int()[0], rtol=1e-9)


def test_an_area_by_topic_varies_as_topics_drawn_again_do():
    rng = np.random.default_rng(4)
    topics = np.repeat(np.arange(40), 4)
    positive = rng.normal(size=40)[topics] + rng.normal(1, 0.5, 160)
    negative = rng.normal(size=40)[topics] + rng.normal(0, 0.5, 160)
    found = auroc(positive, negative, groups=(topics, topics + 40))
    draws = []
    for _ in range(600):
        some, others = ((4 * rng.integers(0, 40, 40)[:, None] + np.arange(4)).ravel() for _ in range(2))
        draws.append(stats.mannwhitneyu(positive[some], negative[others]).statistic / 160**2)
    width = (found.high - found.low) / (2 * 1.96)
    assert width == pytest.approx(np.std(draws), rel=0.12)
    assert width > 1.5 * (auroc(positive, negative).high - auroc(positive, negative).low) / (2 * 1.96)
    both = auroc(positive, negative, groups=(topics, topics))  # the same topics on both sides
    assert both.high - both.low != pytest.approx(found.high - found.low, rel=1e-6)


@pytest.mark.parametrize(("icc", "plain"), [(0, 0.94), (0.1, 0.93), (0.5, 0.86)])
def test_intervals_cover_what_they_promise(icc, plain):
    """A rate and a paired difference, 94 topics of 3 prompts as in the built-in test split; without topics they cover `plain` or less."""
    rng, topics = np.random.default_rng(11), np.repeat(np.arange(94), 3)
    held = np.zeros(3)
    for _ in range(1000):
        first, second = (alike(rng, share, 94, 3, icc) for share in (0.3, 0.5))
        rate = wilson(int(first.sum()), 282, design_effect=design_effect(first, topics))
        naive = wilson(int(first.sum()), 282)
        d = second.astype(int) - first
        b, c = int((d > 0).sum()), int((d < 0).sum())
        gap = tango_interval(b, c, 282, design_effect=design_effect(d, topics))
        held += rate.low <= 0.3 <= rate.high, gap.low <= 0.2 <= gap.high, naive.low <= 0.3 <= naive.high
    covered = held / 1000
    assert (covered[:2] > 0.94 - 0.008).all(), covered
    assert (covered[:2] < 0.96 + 0.008).all(), covered
    assert covered[2] < plain + 0.02 if icc else abs(covered[2] - 0.95) < 0.015, covered


def test_a_test_by_topic_keeps_its_level_where_one_by_prompt_does_not():
    rng, topics = np.random.default_rng(12), np.repeat(np.arange(40), 4)
    rejected = np.zeros(2)
    for _ in range(600):
        d = alike(rng, 0.3, 40, 4, 0.5).astype(int) - alike(rng, 0.3, 40, 4, 0.5)
        b, c = int((d > 0).sum()), int((d < 0).sum())
        rejected += sign_flip_p(d, topics) < 0.05, mcnemar_exact(b, c) < 0.05
    assert rejected[0] / 600 < 0.07
    assert rejected[1] / 600 > 0.10


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: dependence([1, 0, 1], ["a", "b"]), "groups: got 2 for 3 prompts, expected a topic for each"),
        (lambda: dependence([1, 0], ["a", None]), "groups: got 1 None or NaN among 2"),
        (lambda: wilson(1, 2, design_effect=0.5), "design_effect: got 0.5, expected a finite number of 1 or more"),
        (lambda: sign_flip_p([0.5], ["a"]), "got a difference that is no whole number"),
    ],
)
def test_faults_are_told(call, words):
    with pytest.raises(StatisticsError, match=words):
        call()
