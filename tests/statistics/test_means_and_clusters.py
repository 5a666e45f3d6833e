import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from rhat.errors import StatisticsError
from rhat.statistics import cluster_mean_difference, mean_interval, mean_p, paired_comparison, paired_mean_difference


def test_mean_interval_matches_scipy():
    values = np.random.default_rng(0).normal(3, 2, 17)
    truth = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    interval = mean_interval(values, level=0.9)
    np.testing.assert_allclose([interval.low, interval.high], [truth.low, truth.high])
    assert (interval.estimate, interval.n) == (pytest.approx(values.mean()), 17)


def test_paired_difference_matches_scipy_and_its_sign():
    generator = np.random.default_rng(1)
    a, b = generator.normal(2, 1, 12), generator.normal(0, 1, 12)
    truth = stats.ttest_rel(a, b).confidence_interval()
    interval = paired_mean_difference(a, b)
    np.testing.assert_allclose([interval.low, interval.high], [truth.low, truth.high])
    assert interval.estimate > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_interval([1.0]), "got 1 values, expected at least 2"),
        (lambda: mean_interval([1.0, np.nan]), "got 1 NaN"),
        (lambda: mean_interval([1.0, 2.0], level=1.0), "level: got 1.0"),
        (lambda: paired_mean_difference([1.0, 2.0], [1.0, 2.0, 3.0]), "got 2 and 3 values"),
        (lambda: cluster_mean_difference([1, 0], [0, 0], ["a"]), "treatment and groups: got 2 and 1"),
        (lambda: cluster_mean_difference([1, 0], [0, 0], ["a", "a"]), "got 1 topic, expected at least 2"),
        (lambda: cluster_mean_difference([1], [0], ["a"]), "got 1 values, expected at least 2"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(StatisticsError, match=words):
        call()


def test_clusters_match_statsmodels():
    generator = np.random.default_rng(2)
    groups = generator.integers(0, 9, 80)
    treatment = generator.normal(size=80) + generator.normal(size=9)[groups]
    reference = generator.normal(size=80)
    fit = sm.OLS(treatment - reference, np.ones(80)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    result = cluster_mean_difference(treatment, reference, [f"topic {g}" for g in groups])
    assert result.estimate == pytest.approx(fit.params[0])
    np.testing.assert_allclose([result.low, result.high], fit.conf_int(0.05)[0])
    assert (result.n, result.clusters) == (80, 9)


def test_every_prompt_its_own_topic_is_the_paired_t_interval():
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=25), generator.normal(size=25)
    result, truth = cluster_mean_difference(a, b, np.arange(25)), paired_mean_difference(a, b)
    np.testing.assert_allclose([result.low, result.high], [truth.low, truth.high])
    assert result.design_effect == pytest.approx(1.0)


def test_copied_prompts_are_worth_one_each():
    # 20 topics of 5 identical prompts: the variance is that of 20 prompts, 5 times what 100 would have.
    topic = np.random.default_rng(4).integers(0, 2, 20)
    reference = np.zeros(100)
    result = cluster_mean_difference(np.repeat(topic, 5), reference, np.repeat(np.arange(20), 5))
    alone = paired_mean_difference(topic, np.zeros(20))
    np.testing.assert_allclose([result.low, result.high], [alone.low, alone.high])
    assert result.design_effect == pytest.approx(5 * 99 / 95)


def test_verdicts_give_the_same_difference_as_the_paired_comparison():
    treatment, reference = np.arange(40) % 3 == 0, np.arange(40) % 4 == 0
    result = cluster_mean_difference(treatment, reference, np.arange(40) // 5)
    assert result.estimate == pytest.approx(paired_comparison(treatment, reference).difference)


def test_no_variation_has_no_design_effect():
    result = cluster_mean_difference(np.ones(4), np.zeros(4), ["a", "a", "b", "b"])
    assert (result.estimate, result.design_effect) == (1.0, None)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_the_t_test_is_scipys_where_every_prompt_is_on_its_own(shift):
    values = np.random.default_rng(3).normal(size=20) + shift
    assert mean_p(values, [str(i) for i in range(20)]) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert mean_p(np.zeros(8), [str(i) for i in range(8)]) == 1
    assert mean_p(np.ones(8), [str(i) for i in range(8)]) == pytest.approx(2 / 2**8)
