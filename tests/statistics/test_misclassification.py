import numpy as np
import pytest

from rhat.errors import StatisticsError
from rhat.statistics import (
    JudgeErrors,
    class_accuracy,
    class_kappa,
    corrected_difference,
    corrected_rate,
    tango_interval,
    wilson,
)

PERFECT = JudgeErrors(10**7, 10**7, 10**7, 10**7)


def test_the_estimate_is_rogan_and_gladens():
    found = corrected_rate(90, 200, JudgeErrors(80, 100, 90, 100))
    assert found.estimate == pytest.approx((0.45 + 0.9 - 1) / (0.8 + 0.9 - 1))
    assert found.low < found.estimate < found.high
    assert found.n == 200


def test_with_a_perfect_judge_it_is_the_plain_interval():
    """Lang and Reiczigel's interval becomes Agresti and Coull's, whose centre is Wilson's; Tango's is nearly Bonett and Price's."""
    ours, plain = corrected_rate(60, 200, PERFECT), wilson(60, 200)
    assert ours.estimate == pytest.approx(plain.estimate)
    assert (ours.low, ours.high) == pytest.approx((plain.low, plain.high), abs=0.003)
    paired, tango = corrected_difference(40, 10, 200, PERFECT), tango_interval(40, 10, 200)
    assert paired.estimate == pytest.approx(tango.estimate)
    assert (paired.low, paired.high) == pytest.approx((tango.low, tango.high), abs=0.01)


def test_the_judges_uncertainty_widens_the_interval():
    many, few = JudgeErrors(800, 1000, 950, 1000), JudgeErrors(24, 30, 57, 60)
    for make in (lambda e: corrected_rate(90, 400, e), lambda e: corrected_difference(80, 20, 400, e)):
        wide, narrow = make(few), make(many)
        assert wide.high - wide.low > 1.15 * (narrow.high - narrow.low)


def test_a_weak_judge_shrinks_differences_and_the_correction_gives_them_back():
    found = corrected_difference(70, 10, 200, JudgeErrors(60, 100, 95, 100))
    assert found.estimate == pytest.approx(0.3 / 0.55)
    mirrored = corrected_difference(10, 70, 200, JudgeErrors(60, 100, 95, 100))
    assert (mirrored.estimate, mirrored.low, mirrored.high) == pytest.approx((-found.estimate, -found.high, -found.low))


def test_rates_are_cut_and_intervals_hold_their_estimate():
    errors = JudgeErrors(97, 100, 90, 100)
    for count in (0, 1, 2, 98, 99, 100):
        found = corrected_rate(count, 100, errors)
        assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert corrected_rate(0, 100, errors).high == 0  # fewer than the judge's errors alone would make


def test_a_judge_that_is_no_better_than_chance_tells_nothing():
    assert corrected_rate(10, 100, JudgeErrors(40, 100, 55, 100)) is None
    assert corrected_difference(10, 5, 100, JudgeErrors(50, 100, 50, 100)) is None


@pytest.mark.parametrize(
    ("n", "sensitivity", "specificity", "rate"), [(64, 0.5, 0.9, 0.3), (200, 0.7, 0.95, 0.5), (400, 0.97, 0.99, 0.8)]
)
def test_coverage(n, sensitivity, specificity, rate):
    """A short, seeded version of benchmarks/coverage.py: 95 % within what 1500 draws can tell, where the plain one fails."""
    rng = np.random.default_rng(5)
    seen = rate * sensitivity + (1 - rate) * (1 - specificity)
    held = plain = 0
    for _ in range(1500):
        errors = JudgeErrors(int(rng.binomial(150, sensitivity)), 150, int(rng.binomial(150, specificity)), 150)
        count = int(rng.binomial(n, seen))
        interval = corrected_rate(count, n, errors)
        held += interval.low <= rate <= interval.high
        plain += wilson(count, n).low <= rate <= wilson(count, n).high
    assert 0.93 <= held / 1500 <= 0.975
    if sensitivity < 0.9:
        assert plain / 1500 < 0.85


def test_coverage_of_differences():
    rng = np.random.default_rng(6)
    sensitivity, specificity, only, other, n = 0.6, 0.95, 0.5, 0.05, 200
    calls = (sensitivity, 1 - specificity)
    b = only * calls[0] * (1 - calls[1]) + other * (1 - calls[0]) * calls[1]
    c = only * (1 - calls[0]) * calls[1] + other * calls[0] * (1 - calls[1])
    b, c = (x + 0.25 * calls[0] * (1 - calls[0]) + 0.2 * calls[1] * (1 - calls[1]) for x in (b, c))
    held = 0
    for _ in range(1500):
        x, y, _ = rng.multinomial(n, [b, c, 1 - b - c]).tolist()
        errors = JudgeErrors(int(rng.binomial(150, sensitivity)), 150, int(rng.binomial(150, specificity)), 150)
        interval = corrected_difference(x, y, n, errors)
        held += interval.low <= only - other <= interval.high
    assert 0.93 <= held / 1500 <= 0.975


def test_wrong_counts_say_so():
    with pytest.raises(StatisticsError, match="judge errors: got found=5 of 4"):
        JudgeErrors(5, 4, 1, 1)
    with pytest.raises(StatisticsError, match="judge errors: got cleared=0 of 0"):
        JudgeErrors(1, 2, 0, 0)
    with pytest.raises(StatisticsError, match="corrected_rate: got count=11 of n=10"):
        corrected_rate(11, 10, PERFECT)


def test_accuracy_of_a_class_is_counted_by_hand():
    labels = ["a", "a", "a", "b", "b", "c"]
    found = ["a", "a", "b", "b", "a", "c"]
    told = class_accuracy(labels, found, "a")
    assert told.sensitivity == wilson(2, 3)
    assert told.specificity == wilson(2, 3)
    assert class_accuracy(["a"], ["a"], "a").specificity is None
    with pytest.raises(StatisticsError, match="got 1 labels and 2 readings"):
        class_accuracy(["a"], ["a", "b"], "a")


def test_kappa_of_classes_is_scikit_learns():
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(0)
    a, b = (rng.choice(list("abcd"), 300, p=[0.4, 0.3, 0.2, 0.1]).tolist() for _ in range(2))
    b = [x if rng.random() < 0.6 else y for x, y in zip(a, b, strict=True)]
    found = class_kappa(a, b)
    assert found.estimate == pytest.approx(cohen_kappa_score(a, b))
    assert found.low < found.estimate < found.high
    assert class_kappa(["a", "a"], ["a", "a"]) is None
    with pytest.raises(StatisticsError, match="got no rows"):
        class_kappa([], [])
