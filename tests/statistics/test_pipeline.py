"""The interval over the whole pipeline: samples of whole topics, and coverage where the truth is known."""

import numpy as np
import pytest

from rhat.errors import StatisticsError
from rhat.statistics import Interval, mean_interval
from rhat.statistics.pipeline import pipeline_interval, resampled_topics


def test_a_sample_holds_whole_topics_as_many_as_there_are():
    topics = np.array(["a", "b", "a", "c", "c", "c", "d"])
    rng, seen = np.random.default_rng(0), set()
    for _ in range(50):
        at = resampled_topics(topics, rng)
        times = {t: np.bincount(at, minlength=7)[topics == t] for t in "abcd"}
        assert all(len(set(counts)) == 1 for counts in times.values())
        assert sum(counts[0] for counts in times.values()) == 4
        seen |= set(at.tolist())
    assert seen == set(range(7))
    with pytest.raises(StatisticsError, match="got no prompts"):
        resampled_topics([], rng)


def test_squares_of_distances_add():
    effects = [0.1, 0.2, 0.3]  # standard deviation 0.1, t of 2 degrees of freedom 4.303
    found = pipeline_interval(Interval(0.2, 0.0, 0.3, 50), effects)
    assert found.low == pytest.approx(0.2 - np.hypot(0.2, 0.4303), abs=1e-4)
    assert found.high == pytest.approx(0.2 + np.hypot(0.1, 0.4303), abs=1e-4)
    assert (found.estimate, found.n) == (0.2, 50)


def test_directions_that_agree_add_nothing():
    measured = Interval(0.2, 0.1, 0.4, 50)
    assert pipeline_interval(measured, [0.5] * 20) == measured


def test_it_covers_what_the_interval_over_test_prompts_does_not():
    """Directions differ by the prompts that they were made of, and each is measured on its own test prompts."""
    rng, hits = np.random.default_rng(0), np.zeros(2)
    runs, n, between = 600, 64, 0.5
    for _ in range(runs):
        own = rng.normal(scale=between)  # the effect of this r̂; that of the average one is 0
        measured = mean_interval(rng.normal(own, 1, n))
        again = [rng.normal(own + rng.normal(scale=between), 1, n).mean() for _ in range(20)]
        whole = pipeline_interval(measured, again)
        hits += [measured.low <= 0 <= measured.high, whole.low <= 0 <= whole.high]
    assert hits[0] / runs < 0.5
    assert hits[1] / runs > 0.93


def test_one_direction_is_too_few():
    with pytest.raises(StatisticsError, match="effects"):
        pipeline_interval(Interval(0.2, 0.1, 0.4, 50), [0.1])
