"""The gauges as a part of a bench: what `rhat gauges` writes of the same direction, on two gauges that were planted."""

from dataclasses import replace

import pytest

from benches import Counted
from rhat.benching import BenchResults, BenchSettings, bench, figures
from rhat.benching.cost import bench_work
from rhat.benching.entries import Bench, surroundings
from rhat.benching.measure import _lab, _other_parts
from rhat.benching.tables import tables
from rhat.errors import StudyError
from rhat.gauges import GaugeSettings, gauges
from rhat.scoring.pieces import Pieces
from rhat.selection.cost import Answers, total
from rhat.selection.settings import FindSettings, silent
from rhat.selection.survey import Clock
from two_gauges import prompts, two_gauges

SETTINGS = BenchSettings(only=("gauges",), judged_tokens=6)


@pytest.fixture(scope="module")
def planted():
    some, made = prompts(), two_gauges()
    return made.model, some, made.rhat(some)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def found(planted, kept):
    return bench(*planted, SETTINGS, pieces=Pieces.of(kept, planted[0]))


def test_they_are_those_of_the_command_with_the_same_prompts(planted, found):
    model, some, r = planted
    finding = surroundings(SETTINGS, FindSettings.read_as(r))
    own = gauges(model, some, r, GaugeSettings(preset="quick", judged_tokens=6), find_settings=finding)
    assert {**found.gauges.plain(), "timings": []} == {**own.plain(), "timings": []}
    assert found.gauges.verdict == "dissociated"


def test_alone_they_are_the_whole_document(found, tmp_path):
    assert found.sentence == found.gauges.sentence
    assert found.sentences == found.gauges.sentences
    assert (found.tasks, found.comparisons, found.doses, tables(found)) == ((), (), (), [])
    assert [row.stage for row in found.timings][-1] == "gauges"
    again = BenchResults.load(found.save(tmp_path / "bench.json"))
    assert again == found
    assert again.plain()["gauges"]["schema_version"] == found.gauges.schema_version
    assert [file.name for file in figures.write(found, tmp_path / "bench.json")] == ["bench.gauges.svg"]


def test_what_was_kept_is_not_measured_again_and_work_is_expected_as_it_comes(planted, kept, found):
    executor = Counted()
    again = bench(*planted, SETTINGS, executor=executor, pieces=Pieces.of(kept, planted[0]))
    assert executor.shards == 0
    assert found.changed(timings=(), gauges=None) == again.changed(timings=(), gauges=None)
    expected = bench_work(*planted, SETTINGS, answers=Answers(1.0, 24, 0.0))
    assert "answers" not in expected
    assert total(expected).flop / 1e9 == pytest.approx(sum(row.gflop or 0 for row in found.timings), rel=0.4)


def test_where_they_cannot_be_measured_they_are_left_out_or_the_error(planted):
    model, some, _ = planted
    wrong = two_gauges().rhat(some, position=-5)  # the instruction's last token, where harmfulness is read
    with pytest.raises(StudyError, match="instruction's last token"):
        bench(model, some, wrong, SETTINGS)
    with_edits = replace(SETTINGS, only=("finders", "gauges"))
    given = Bench(_lab(model, some, wrong, with_edits, None, silent, None, None), with_edits)
    fields = _other_parts(given, Clock(), [])
    assert "gauges" not in fields
    [row] = fields["left_out"]
    assert (row.part, row.name) == ("gauges", "gauges")
    assert "instruction's last token" in row.reason
