"""No statistic takes NaN or infinity for a number: each raises StatisticsError, in one line, or gives finite results."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rhat.statistics as statistics
from rhat.errors import StatisticsError

BAD = (math.nan, math.inf, -math.inf)
extreme = st.sampled_from((*BAD, 0.0, 1.0, 1e308, -1e308, 5e-324, 10**400, -1, 2**60))
share = st.one_of(st.floats(0, 1), st.floats(-5, 5), extreme)
count = st.one_of(st.integers(-1, 40), extreme, st.sampled_from(("3", None, 1.5)))
verdicts = st.lists(st.one_of(st.booleans(), st.sampled_from(BAD)), max_size=6)
values = st.lists(st.one_of(st.floats(-3, 3), st.sampled_from((*BAD, 1e308, -1e308, None))), max_size=6)
level = st.one_of(st.just(0.95), st.floats(0, 1), st.sampled_from(BAD))
ends = st.tuples(st.one_of(st.floats(-3, 3), st.sampled_from(BAD)), st.one_of(st.floats(-3, 3), st.sampled_from(BAD)))
errors = st.just(statistics.JudgeErrors(50, 60, 90, 100))
topics = st.lists(st.one_of(st.sampled_from("abc"), st.sampled_from((math.nan, None))), max_size=6)

labels = st.lists(st.sampled_from("abc"), max_size=6)

ARGUMENTS = {
    "agreement": (verdicts, verdicts, level),
    "auroc": (values, values, level),
    "class_accuracy": (labels, labels, st.just("a"), level),
    "class_kappa": (labels, labels, level),
    "cluster_mean_difference": (values, values, topics, level),
    "corrected_difference": (count, count, count, errors, level),
    "corrected_rate": (count, count, errors, level),
    "crossing_dose": (values, st.lists(values, max_size=4), level),
    "dependence": (values, topics),
    "design_effect": (values, topics),
    "direction_p": (count, count),
    "equivalence_power": (count, share, share),
    "fewest_to_bound": (share, level),
    "fixed_sequence": (st.lists(share, max_size=6),),
    "half_effect_dose": (values, st.lists(share, max_size=6), st.one_of(count, st.lists(count, max_size=6))),
    "holm": (st.lists(share, max_size=6),),
    "holm_exclusive": (st.lists(st.lists(share, max_size=3), max_size=4),),
    "judge": (ends, ends, share, share),
    "margin_tests": (count, count, count, share),
    "mcnemar_exact": (count, count),
    "mean_interval": (values, level),
    "mean_p": (values,),
    "noninferior": (ends, share),
    "paired_comparison": (verdicts, verdicts),
    "paired_mean_difference": (values, values, level),
    "prompts_needed": (
        st.sampled_from((*BAD, 0.0, 0.2, 1.0)),
        st.sampled_from((*BAD, 0.1, 0.3, 5e-324)),
        st.sampled_from((*BAD, 0.8)),
    ),
    "prompts_to_bound": (share, st.sampled_from((*BAD, 0.0, 0.2, 1.0)), level, level),
    "roc_curve": (values, values),
    "share_below_p": (count, count, share, share),
    "sign_flip_p": (st.lists(st.one_of(st.integers(-1, 1), st.sampled_from(BAD)), max_size=6), topics),
    "spearman": (values, values, level),
    "tango_interval": (count, count, count, level),
    "threshold_at_fpr": (values, share, level),
    "wilson": (count, count, level),
    "within_margin": (ends, share),
}
FUNCTIONS = sorted(name for name in statistics.__all__ if name.islower())  # the others are types


def numbers(result):
    """All numbers in what a statistic returns."""
    if dataclasses.is_dataclass(result):
        for field in dataclasses.fields(result):
            if field.name != "thresholds":  # of a ROC curve: the last is −inf, as documented
                yield from numbers(getattr(result, field.name))
    elif isinstance(result, float | int | np.number | np.ndarray):
        yield from np.atleast_1d(result).astype(float).tolist()


def test_all_public_functions_are_tried():
    assert sorted(ARGUMENTS) == FUNCTIONS


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_finite_or_an_error(name):
    function = getattr(statistics, name)

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(st.tuples(*ARGUMENTS[name]))
    def holds(arguments):
        try:
            result = function(*arguments)
        except StatisticsError:
            return
        assert all(map(math.isfinite, numbers(result))), (arguments, result)

    holds()


LABELS = ("a", "b", "a", "c")  # of classes, not of numbers: nothing in them can be NaN
GOOD = {
    "agreement": ([True, False, True, True], [True, True, False, True]),
    "auroc": ([1.0, 2.0, 3.0], [0.0, 1.5, 2.5]),
    "class_accuracy": (LABELS, LABELS, LABELS[0]),
    "class_kappa": (LABELS, LABELS),
    "cluster_mean_difference": ([1.0, 2.0, 3.0], [0.0, 1.5, 2.5], ["a", "b", "a"]),
    "corrected_difference": (3, 4, 20, statistics.JudgeErrors(50, 60, 90, 100)),
    "corrected_rate": (3, 20, statistics.JudgeErrors(50, 60, 90, 100)),
    "crossing_dose": ([1.0, 2.0, 4.0], [[0.1, 0.2], [0.2, 0.3], [0.4, 0.6]], 0.25),
    "dependence": ([1.0, 2.0, 3.0], ["a", "b", "a"]),
    "design_effect": ([1.0, 2.0, 3.0], ["a", "b", "a"]),
    "direction_p": (3, 4),
    "equivalence_power": (64, 0.2, 0.1),
    "fewest_to_bound": (0.1, 0.95),
    "fixed_sequence": ([0.01, 0.2],),
    "half_effect_dose": ([1.0, 2.0, 3.0], [0.1, 0.5, 0.9], [20, 20, 20]),
    "holm": ([0.01, 0.2],),
    "holm_exclusive": ([0.01, 0.2],),
    "judge": ([0.1, 0.2], [0.12, 0.18], 0.3, 0.02),
    "margin_tests": (3, 4, 20, 0.1),
    "mcnemar_exact": (3, 4),
    "mean_interval": ([1.0, 2.0, 4.0],),
    "mean_p": ([1.0, 2.0, 4.0],),
    "noninferior": ([-0.1, 0.2], 0.3),
    "paired_comparison": ([True, False, True], [True, True, False]),
    "paired_mean_difference": ([1.0, 2.0, 3.0], [0.0, 1.5, 2.5]),
    "prompts_needed": (0.2, 0.1),
    "prompts_to_bound": (0.05, 0.2, 0.95, 0.8),
    "roc_curve": ([1.0, 2.0], [0.0, 1.5]),
    "share_below_p": (3, 40, 0.2, 1.5),
    "sign_flip_p": ([1, 0, -1], ["a", "b", "a"]),
    "spearman": ([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]),
    "tango_interval": (3, 4, 20),
    "threshold_at_fpr": ([1.0, 2.0, 3.0], 0.1),
    "wilson": (3, 20),
    "within_margin": ([-0.1, 0.2], 0.3),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_bad_number_anywhere_is_an_error(name, bad):
    """Every argument in turn, and every place of a list, that is otherwise good."""
    function, good = getattr(statistics, name), GOOD[name]
    assert all(map(math.isfinite, numbers(function(*good))))
    for i, value in enumerate(good):
        if value in (LABELS, LABELS[0]) or isinstance(value, statistics.JudgeErrors):
            continue  # labels, and a record that checks itself
        if not isinstance(value, list):
            spoilt = [bad]
        elif isinstance(value[0], str):
            spoilt = [[*value[:j], math.nan, *value[j + 1 :]] for j in range(len(value))]
        else:
            spoilt = [[*value[:j], bad, *value[j + 1 :]] for j in range(len(value))]
        if name == "crossing_dose" and i == 1:  # rows of numbers: every number of every row, too
            spoilt += [
                [*value[:j], [*value[j][:k], bad, *value[j][k + 1 :]], *value[j + 1 :]]
                for j in range(len(value))
                for k in range(len(value[j]))
            ]
        for one in spoilt:
            if name == "prompts_needed" and i == 1 and one == -math.inf:
                continue  # no number of prompts shows a margin of 0 or less, however little: None, as documented
            with pytest.raises(StatisticsError):
                function(*good[:i], one, *good[i + 1 :])
