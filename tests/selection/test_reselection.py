"""Choosing again on samples of the validation prompts, against the rules on a table of every score; no model."""

import numpy as np
import pytest

from rhat.selection import choose, choose_relaxed
from rhat.selection.reselection import Reselection
from rhat.selection.scored import Scored
from rhat.statistics import mean_interval

LAYERS, HARMLESS, HARMFUL = 10, 12, 9
PLACES = [(layer, position) for layer in range(1, 8) for position in (-2, -1)]


@pytest.fixture(scope="module")
def scores():
    """Every score of every candidate: many near the thresholds, so that other prompts make another choice."""
    rng = np.random.default_rng(3)
    before = rng.normal(-4, 1, HARMLESS)
    induce = {place: before + rng.normal(4, 2) + rng.normal(size=HARMLESS) for place in PLACES}
    ablation = {place: rng.normal(-2, 0.3) + rng.normal(scale=2, size=HARMFUL) for place in PLACES}
    kl = {place: rng.gamma(1, rng.uniform(0.05, 0.15), HARMLESS) for place in PLACES}
    return Scored(before, induce, ablation, kl)


def nothing(_places, _label):
    raise AssertionError("nothing is left to measure")


@pytest.mark.parametrize("rule", ["published", "relaxed"])
def test_the_choice_on_a_sample_is_that_of_the_whole_table(scores, rule):
    rng = np.random.default_rng(0)
    draws = [{"harmless": rng.integers(HARMLESS, size=12), "harmful": rng.integers(HARMFUL, size=9)} for _ in range(60)]
    stored = Scored(scores.before, scores.induce, dict(list(scores.ablation.items())[:4]), {})
    measured = []

    def measure(places, label):
        measured.extend(places)
        return [(scores.kl if label == "harmless" else scores.ablation)[place] for place in places]

    found = Reselection(stored, rule, measure).choices(draws)
    for draw, place in zip(draws, found, strict=True):
        harmless, harmful = draw["harmless"], draw["harmful"]
        table = [
            {
                "layer": layer,
                "position": position,
                "induce_score": scores.induce[layer, position][harmless].mean(),
                "induce_rise_low": mean_interval((scores.induce[layer, position] - scores.before)[harmless]).low,
                "ablation_score": scores.ablation[layer, position][harmful].mean(),
                "kl": scores.kl[layer, position][harmless].mean(),
            }
            for layer, position in PLACES
        ]
        choice = (choose if rule == "published" else choose_relaxed)(table, n_layers=LAYERS).candidate
        assert place == (None if choice is None else (choice["layer"], choice["position"]))
    assert len(set(found)) > 3
    assert len(measured) < 2 * len(PLACES)  # each at most once, and not all


def test_no_candidate_passes_on_some_prompts(scores):
    none = Scored(scores.before, {place: values - 20 for place, values in scores.induce.items()})
    assert Reselection(none, "published", nothing).choices([{"harmless": np.arange(3), "harmful": np.arange(3)}]) == [
        None
    ]


def test_a_candidate_that_was_stopped_early_stays_out(scores):
    first = PLACES[0]
    stopped = Scored(scores.before, {first: np.full(4, 99.0)}, scores.ablation, scores.kl)
    assert Reselection(stopped, "published", nothing).choices(
        [{"harmless": np.arange(3), "harmful": np.arange(3)}]
    ) == [None]


@pytest.mark.parametrize("rule", ["published", "relaxed"])
def test_who_was_stopped_early_behind_the_leader_stays_out(scores, rule):
    """Its few ablation scores are the lowest of all, on prompts that a sample may draw alone: they decide nothing."""
    every = np.arange(HARMLESS), np.arange(HARMFUL)
    low = {place: values + 50 for place, values in scores.induce.items()}  # all pass the induce rule
    kl = {place: np.zeros(HARMLESS) for place in PLACES}
    stopped, *others = PLACES
    ablation = {**scores.ablation, stopped: np.full(4, -99.0)}
    [place] = Reselection(Scored(scores.before, low, ablation, kl), rule, nothing).choices(
        [{"harmless": every[0], "harmful": every[1]}]
    )
    assert place == min(others, key=lambda p: scores.ablation[p].mean())


def test_by_the_relaxed_rule_a_sample_draws_from_the_prompts_that_made_a_candidate_clear(scores):
    clear, unclear = PLACES[:2]
    induce = {clear: scores.before[:4] + np.array([3.0, 3.1, 2.9, 3.0]), unclear: scores.before[:4] - 3.0}
    ablation = {place: np.zeros(HARMFUL) for place in (clear, unclear)}
    kl = {place: np.zeros(HARMLESS) for place in (clear, unclear)}
    found = Reselection(Scored(scores.before, induce, ablation, kl), "relaxed", nothing).choices(
        [
            {"harmless": np.array([0, 1, 2, 3, 11, 11]), "harmful": np.arange(HARMFUL)},
            {"harmless": np.array([9, 10, 11]), "harmful": np.arange(HARMFUL)},  # none that the candidate ran
        ]
    )
    assert found == [clear, None]
