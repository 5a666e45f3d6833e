import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rhat.selection.racing import Race, looks


def field_of(rng, candidates=200, prompts=96, apart=1.0):
    """Scores of candidates: prompts differ far more among themselves than candidates do, as refusal scores do."""
    means = rng.normal(0, apart, candidates) if apart else np.zeros(candidates)
    values = means[:, None] + rng.normal(0, 4, prompts) + rng.normal(0, 1, (candidates, prompts))
    return {(i // 5, -1 - i % 5): values[i] for i in range(candidates)}


def race_over(values, first):
    n, spent = len(next(iter(values.values()))), []
    blocks = looks(n, first)

    def take(places, index):
        spent.append(len(places) * len(blocks[index]))
        return [values[place][blocks[index].start : blocks[index].stop] for place in places]

    return Race(blocks, take), spent


@given(st.integers(1, 500), st.integers(0, 40))
def test_looks_cut_the_prompts_into_blocks_without_gaps(n, first):
    blocks = looks(n, first)
    assert [i for block in blocks for i in block] == list(range(n))
    assert len(blocks) == 1 or 2 * len(blocks[-1]) >= blocks[-1].start
    assert first or len(blocks) == 1


def test_a_race_finds_what_scoring_everything_finds_with_less():
    wrong, share = 0, []
    for seed in range(200):
        values = field_of(np.random.default_rng(seed))
        race, spent = race_over(values, 8)
        best = min(values, key=lambda place: values[place].mean())
        wrong += race.finalists(list(values))[0] != best
        share.append(sum(spent) / (len(values) * 96))
    assert wrong <= 2  # of 200; none of 1,500 was
    assert np.mean(share) < 0.4


def test_among_candidates_that_are_all_alike_the_best_is_seldom_lost():
    """The worst case: whoever leads after a look leads by luck. The two best differ by little then, too."""
    wrong = 0
    for seed in range(300):
        values = field_of(np.random.default_rng(seed), candidates=100, apart=0.0)
        race, _ = race_over(values, 8)
        wrong += race.finalists(list(values))[0] != min(values, key=lambda place: values[place].mean())
    assert wrong <= 8  # 1.4 are expected; at 5 % of races it would be 15


def test_without_looks_every_candidate_runs_every_prompt():
    values = field_of(np.random.default_rng(0))
    race, spent = race_over(values, 0)
    assert race.finalists(list(values)) == sorted(values, key=lambda place: values[place].mean())
    assert sum(spent) == len(values) * 96


def test_those_behind_go_on_from_where_they_stopped_once_those_ahead_are_out():
    values = field_of(np.random.default_rng(1))
    race, spent = race_over(values, 8)
    order = sorted(values, key=lambda place: values[place].mean())
    left, found = list(values), []
    while left:
        finalists = race.finalists(left)
        found += finalists[:1]
        left = [place for place in left if place not in finalists]
    assert found[0] == order[0]
    for place, blocks in race.scores.items():  # no prompt is run twice
        assert np.array_equal(np.concatenate(blocks), values[place])
    assert sum(spent) == len(values) * 96


def test_equal_candidates_all_reach_the_end():
    same = np.random.default_rng(2).normal(size=96)
    race, _ = race_over({(0, -1): same, (1, -1): same.copy()}, 8)
    assert set(race.finalists([(0, -1), (1, -1)])) == {(0, -1), (1, -1)}


@pytest.mark.parametrize("first", [0, 8])
def test_a_race_of_none_is_empty(first):
    race, spent = race_over({(0, -1): np.zeros(96)}, first)
    assert race.finalists([]) == []
    assert spent == []
