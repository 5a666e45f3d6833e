"""What a study was expected to compute, held against the ledger of what it computed."""

import pytest

from rhat import results as contract
from rhat.selection.cost import Answers, total
from rhat.study import StudyConfig
from rhat.study.config import PRESETS_OF
from rhat.study.cost import EXPERIMENTS, study_work
from rhat.study.opening import open_model, open_prompts

ALL, ONE = 0.15, 0.40  # how far the whole may be from what was counted, and a stage that is a sixtieth of it or more
SPOKEN = Answers(10.0, 24, 0.0)  # "Sorry, no." and "Glad to help.", which end by themselves


@pytest.fixture(scope="module")
def both(studied):
    """(what was expected, what was counted): stage → numbers."""
    folder = studied.parent
    files = {label: str(folder / f"{label}.jsonl") for label in ("harmful", "harmless", "borderline")}
    files["twins"] = str(folder / "twin.jsonl")
    config = StudyConfig(model=str(folder / "model"), dtype="float64", preset="standard", **files)
    results = contract.read(studied)
    layer = results["direction"]["layer"]
    relaxed = results["outcome"] == "found_relaxed"
    work = study_work(config, open_model(config), open_prompts(config), answers=SPOKEN, layer=layer, relaxed=relaxed)
    counted = {row["stage"]: row for row in results["timings"] if "gflop" in row}
    return work, counted


def test_the_whole_is_expected(both):
    work, counted = both
    said = total(work).said()
    for name in ("block_tokens", "gflop"):
        expected, was = said[name], sum(row[name] for row in counted.values())
        assert abs(expected - was) <= ALL * was, (name, expected, was)


def test_every_large_stage_is_expected(both):
    work, counted = both
    least = sum(row["block_tokens"] for row in counted.values()) / 60
    large = [stage for stage, row in counted.items() if row["block_tokens"] >= least]
    assert len(large) >= 6
    for stage in large:
        expected, was = work[stage].said()["block_tokens"], counted[stage]["block_tokens"]
        assert abs(expected - was) <= ONE * was, (stage, expected, was)


def test_every_experiment_has_its_cost(both):
    assert set(EXPERIMENTS) == set(PRESETS_OF)
    work, counted = both
    assert set(counted) <= set(work)


def test_answers_that_were_cut_off_go_on():
    assert Answers(20.0, 24, 0.5).of_at_most(160) == 20 + 0.5 * 136
    assert Answers(20.0, 24, 0.5).of_at_most(8) == 8
    assert SPOKEN.of_at_most(160) == 10
