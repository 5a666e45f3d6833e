from dataclasses import dataclass

import pytest

from rhat.errors import StudyError
from rhat.selection import choose, choose_relaxed
from rhat.selection.settings import FindSettings


def row(position=-1, layer=5, ablation=-3.0, induce=1.0, kl=0.05, **more):
    return {"position": position, "layer": layer, "ablation_score": ablation, "induce_score": induce, "kl": kl, **more}


def statuses(choice):
    return [r["status"] for r in choice.table]


def test_the_lowest_ablation_score_among_those_that_pass():
    a, b, c = row(ablation=-2), row(layer=6, ablation=-4), row(layer=7, ablation=-9, kl=0.2)
    choice = choose([a, b, c], n_layers=24)
    assert choice.candidate is b
    assert statuses(choice) == ["kept", "selected", "kl"]
    assert choice.removed == {"zero_norm": 0, "layer": 0, "induce": 0, "kl": 1}


def test_the_last_fifth_of_layers_is_skipped():
    """24 layers: 19 and up."""
    choice = choose([row(layer=18), row(layer=19, ablation=-50)], n_layers=24)
    assert statuses(choice) == ["selected", "layer"]


@pytest.mark.parametrize(("n_layers", "first"), [(24, 19), (10, 8), (32, 25), (5, 4), (28, 22)])
def test_the_first_skipped_layer_is_int_of_four_fifths(n_layers, first):
    choice = choose([row(layer=layer) for layer in range(n_layers)], n_layers=n_layers)
    assert [r["layer"] for r in choice.table if r["status"] == "layer"] == list(range(first, n_layers))


def test_status_names_the_first_rule_failed():
    everything = row(layer=23, induce=-1, kl=9, norm=0)
    assert statuses(choose([everything], n_layers=24)) == ["zero_norm"]
    assert statuses(choose([row(layer=23, induce=-1, kl=9)], n_layers=24)) == ["layer"]
    assert statuses(choose([row(induce=-1, kl=9)], n_layers=24)) == ["induce"]
    assert statuses(choose([row(kl=9)], n_layers=24)) == ["kl"]
    assert statuses(choose([row(ablation=float("nan"), norm=0)], n_layers=24)) == ["zero_norm"]


def test_bounds_are_as_published():
    """Induce has to be above its threshold, KL may reach its own."""
    assert statuses(choose([row(induce=0.0)], n_layers=24)) == ["induce"]
    assert statuses(choose([row(kl=0.1)], n_layers=24)) == ["selected"]


def test_none_left_is_none_with_the_reasons():
    choice = choose([row(induce=-1), row(kl=1)], n_layers=24)
    assert choice.candidate is None
    assert choice.removed["induce"] == choice.removed["kl"] == 1


def test_objects_do_as_well_as_mappings():
    @dataclass
    class Candidate:
        position: int
        layer: int
        ablation_score: float
        induce_score: float
        kl: float

    some = [Candidate(-1, 3, -1.0, 0.5, 0.01), Candidate(-2, 4, -2.0, 0.5, 0.01)]
    choice = choose(some, n_layers=24)
    assert choice.candidate is some[1]
    assert choice.table[1] == {
        "position": -2,
        "layer": 4,
        "ablation_score": -2.0,
        "induce_score": 0.5,
        "kl": 0.01,
        "status": "selected",
    }


def test_what_was_not_measured_is_not_selected():
    choice = choose([row(kl=None, ablation=-9), row(layer=6)], n_layers=24)
    assert statuses(choice) == ["unevaluated", "selected"]
    assert statuses(choose([row(kl=None, ablation=None, induce=-1)], n_layers=24)) == ["induce"]


def test_the_first_of_equals():
    a, b = row(), row(layer=6)
    assert choose([a, b], n_layers=24).candidate is a


def test_the_relaxed_rule_asks_for_a_significant_rise_only():
    a = row(induce=-0.7, induce_rise_low=0.4)
    b = row(layer=6, induce=-0.9, induce_rise_low=-0.1, ablation=-99)
    assert choose([a, b], n_layers=24).candidate is None
    choice = choose_relaxed([a, b], n_layers=24)
    assert choice.candidate is a
    assert choice.rule == "relaxed"
    assert statuses(choice) == ["selected", "induce"]


@pytest.mark.parametrize("name", ["ablation", "induce", "kl", "norm"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_no_number_is_not_dropped_without_a_word(name, bad):
    with pytest.raises(
        StudyError, match=r"candidate 1 \(layer 6, position -1\): got .*(nan|inf), expected a finite number"
    ):
        choose([row(), row(layer=6, **{name: bad})], n_layers=24)


def test_thresholds_are_numbers():
    for bad in ({"kl_max": float("nan")}, {"induce_min": float("nan")}, {"skip_last": float("nan")}):
        with pytest.raises(StudyError, match="nan"):
            choose([row()], n_layers=24, **bad)
        with pytest.raises(StudyError, match="nan"):
            FindSettings(**bad)


@pytest.mark.parametrize("bad", [{"layer": 3}, {"position": -1, "ablation_score": 1}])
def test_a_table_without_place_is_refused(bad):
    with pytest.raises(StudyError, match="candidate 0: got no"):
        choose([bad], n_layers=24)
