"""The alarm: how often it is raised without cause, by simulation, and how soon with one."""

import numpy as np
import pytest
import torch

from rhat.directions import Direction
from rhat.errors import StatisticsError
from rhat.guard import Alarm, from_projections
from rhat.guard.alarm import harmless_projections
from rhat.sites import Site

MODEL = {"name": "tiny", "revision_or_sha256": "0"}
DIRECTION = Direction(torch.eye(4)[0], Site("resid_pre", 1), -1, 4.0, 3.0, -3.0)


def calibration(generator, n=64, fpr=0.05):
    return from_projections(generator.normal(3, 1, 40), generator.normal(-1, 1, n), fpr, DIRECTION, MODEL, "none")


def raised_after(alarm, projections):
    """How many prompts it took; None if the alarm was not raised."""
    return next((i for i, x in enumerate(projections, 1) if alarm.see(float(x))), None)


def test_the_harmless_projections_are_those_that_calibrated():
    given = np.array([0.0, 1.0, 1.0, 2.5, -3.0, 1.0, 4.0] * 5)
    made = from_projections([1.0, 2.0, 5.0], given, 0.1, DIRECTION, MODEL, "none")
    assert harmless_projections(made) == sorted(given.tolist())


def test_traffic_like_the_calibrations_raises_it_no_more_often_than_stated():
    """400 servers, each with its own calibration and 300 prompts, at a false-alarm rate of 10 %."""
    generator = np.random.default_rng(0)
    alarms = [
        raised_after(Alarm(calibration(generator), 0.1, seed), generator.normal(-1, 1, 300)) for seed in range(400)
    ]
    share = np.mean([one is not None for one in alarms])
    assert share <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 400)


def test_tied_projections_raise_no_alarm_either():
    generator = np.random.default_rng(1)
    alarms = []
    for seed in range(200):
        same = from_projections([1.0] * 10, generator.integers(0, 3, 30), 0.1, DIRECTION, MODEL, "none")
        alarms.append(raised_after(Alarm(same, 0.1, seed), generator.integers(0, 3, 200)))
    assert np.mean([one is not None for one in alarms]) <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 200)


@pytest.mark.parametrize("shift", [2.0, -2.0])
def test_a_shift_either_way_is_noticed_soon(shift):
    generator = np.random.default_rng(2)
    soon = []
    for seed in range(20):
        alarm = Alarm(calibration(generator), 0.01, seed)
        assert raised_after(alarm, generator.normal(-1, 1, 100)) is None
        soon.append(raised_after(alarm, generator.normal(-1 + shift, 1, 300)))
    assert all(soon)
    assert np.median(soon) < 60


def test_once_raised_it_stays_and_evidence_is_the_logarithm_of_odds():
    alarm = Alarm(calibration(np.random.default_rng(3)))
    assert alarm.evidence == pytest.approx(0)
    while not alarm.see(9.0):
        pass
    assert alarm.evidence >= 2
    for _ in range(50):
        alarm.see(-1.0)
    assert alarm.raised


def test_a_rate_that_is_none_is_rejected():
    with pytest.raises(StatisticsError, match=r"false_alarm: got 1\.5"):
        Alarm(calibration(np.random.default_rng(3)), 1.5)
