"""Time told: what it is made of, which preset it chooses, and what it leaves out. Nothing here is timed."""

import json
import re
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import studies
from labs import contrast_set
from rhat.errors import StudyError
from rhat.lab import PRESETS
from rhat.model.work import Ledger, Work
from rhat.scoring import load as loads
from rhat.scoring import speed as speeds
from rhat.scoring.load import Load
from rhat.scoring.pieces import Pieces
from rhat.scoring.speed import Speed, speed_of
from rhat.selection.settings import FindSettings
from rhat.selection.told import Told, span, told_of_search
from rhat.study import StudyConfig, run
from rhat.study.budget import Forecast, seconds_of
from tiny import tiny_chat_model

QUIET = speeds.QUIET
ONE_EACH = Speed(1.0, 0.5, 2.0, 0.25, 3.0, 0.125, 10.0, 0.0)
ONLY = ("pca", "stability")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    return studies.arguments(tmp_path_factory.mktemp("study")) | {"only": ONLY}


@pytest.fixture
def known(monkeypatch, tmp_path):
    """A machine on which a token takes a thousandth of a second in each block, and nothing else takes any time."""
    monkeypatch.setenv("RHAT_CACHE", str(tmp_path / "cache"))
    measured = []

    def measure(_model, texts):
        measured.append(texts)
        return Speed(0.0, 1e-3, 0.0, 1e-3, 0.0, 0.0, 10.0, 0.0)

    monkeypatch.setattr(speeds, "measured_speed", measure)
    monkeypatch.setattr(speeds, "QUIET", 1e9)  # however busy the machine is that runs the tests
    return measured


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("90s", 90), ("1h", 3600), ("1h30m", 5400), (" 2 min", 120), ("20", 1200), ("0.5h", 1800)],
)
def test_budgets_are_read(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "30 minutes or so", "-5m", "1d", "0m", "m30", "1h-30m", "nan", "inf"])
def test_other_budgets_are_rejected(text):
    with pytest.raises(StudyError, match=r"^budget .*: (expected a time such as|got no time at all)"):
        seconds_of(text)


def test_seconds_are_those_of_every_part():
    work = Work(1, 10, 100, 1000, 5, 50, 7)
    assert ONE_EACH.seconds(work) == 1 + 5 + 200 + 250 + 15 + 6.25


def forecast(config, **wholes):
    return Forecast(config, {name: {"find": seconds} for name, seconds in wholes.items()}, ONE_EACH)


@pytest.mark.parametrize(
    ("budget", "chosen"), [(50, "quick"), (100, "quick"), (150, "quick"), (200, "standard"), (9e9, "full")]
)
def test_auto_is_the_largest_preset_that_ends_in_time(budget, chosen, tmp_path):
    config = StudyConfig(preset="auto", budget=budget)
    seen = forecast(config, quick=100.0, standard=200.0, full=900.0)
    assert seen.chosen(tmp_path, "model", "prompts") == replace(config, preset=chosen)
    note = seen._note(seen.chosen(tmp_path, "model", "prompts"))
    assert (f"no preset ends within {span(budget)}" in note) == (budget < 100)
    given = StudyConfig(preset="full", budget=budget)
    assert forecast(given, quick=100.0, standard=200.0, full=900.0).chosen(tmp_path, "model", "prompts") is given


def test_auto_goes_on_with_the_study_that_the_folder_holds(tmp_path):
    config = StudyConfig(preset="auto", budget=1e9)
    held = replace(config, preset="quick").fingerprint("model", "prompts")
    (tmp_path / "study.json").write_text(json.dumps({"fingerprint": held}))
    seen = forecast(config, quick=1.0, standard=2.0, full=3.0)
    assert seen.chosen(tmp_path, "model", "prompts").preset == "quick"
    assert seen.chosen(tmp_path, "another model", "prompts").preset == "full"
    anew = replace(seen, config=replace(config, overwrite=True))
    assert anew.chosen(tmp_path, "model", "prompts").preset == "full"


def test_what_is_told_and_what_is_left():
    told = Told({"a": 100.0, "b": 300.0, "c": 500.0}, ONE_EACH, frozenset({"a"}), 50.0, {"quick": 60.0, "full": 2400.0})
    assert told.total == 750
    assert (
        told.sentence() == "about 12 min on this machine; 2 min of 15 min is kept from before (quick 60 s, full 40 min)"
    )
    ledger = Ledger()
    told.follow(ledger)
    assert told.left() == 750
    ledger.add(Work(block_passes=50))  # what was kept of b
    assert told.left() == 750
    ledger.add(Work(block_passes=15))
    assert told.left() == 735
    ledger.add(Work(block_passes=10**6))
    assert (told.done(), told.left()) == (1.0, 0.0)


def test_scores_that_were_not_needed_are_not_waited_for():
    stages = {"activations": 10.0, "induce scores": 100.0, "ablation scores": 60.0, "KL": 30.0, "suppress": 200.0}
    told, ledger = Told(stages, ONE_EACH, frozenset({"activations"})), Ledger()
    told.follow(ledger)
    assert told.left() == told.total == 390
    told.reached("induce scores, block 1")
    ledger.add(Work(block_passes=15))
    assert told.left() == 375
    told.reached("ablation scores, block 1")
    assert told.left() == 290  # 85 of the induce scores were not needed
    assert told.done() == 15 / 305
    told.reached("KL")
    ledger.add(Work(block_passes=5))
    told.reached("induce scores, the rest, 1")  # KL removed all: nothing is waited for twice
    told.reached("suppress")
    assert told.left() == 225


def test_the_scores_of_two_models_are_told_apart():
    told, ledger = (
        Told({"A: induce scores": 100.0, "A: KL": 20.0, "B: induce scores": 100.0, "B: KL": 20.0}, ONE_EACH),
        Ledger(),
    )
    told.follow(ledger)
    told.reached("A: KL")
    assert told.left() == 140
    told.reached("B: induce scores, block 2")
    assert told.left() == 120
    told.reached("A: KL")
    assert told.left() == 120


def test_a_busy_machine_is_measured_once_for_one_forecast(known, monkeypatch):
    monkeypatch.setattr(speeds, "QUIET", -1.0)  # nothing is kept
    told_of_search(tiny_chat_model("llama"), contrast_set(13), FindSettings())
    assert len(known) == 1


def test_a_search_says_when_it_ends_sooner(known):
    """A candidate that passes the published rules spares the search most of the other scores."""
    prompts = contrast_set(13)
    model = tiny_chat_model("llama")
    told = told_of_search(model, prompts, FindSettings())
    assert re.fullmatch(r"about .* on this machine; .* if a candidate passes the published rules", told.sentence())
    assert "if a candidate" not in told_of_search(model, prompts, FindSettings(rule="relaxed")).sentence()


def test_a_study_says_what_it_will_take_and_leaves_out_what_is_kept(arguments, known, tmp_path):
    config = StudyConfig(**arguments, preset="auto", budget=1e9, out=tmp_path / "run")
    told, shares = [], []

    def stopping(stage, done, total):
        if told:
            shares.append(told[-1].done())
        if stage == "stability" and done == total == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, progress=stopping, told=told.append)
    assert len(known) == 1
    assert shares == sorted(shares)
    assert shares[0] < 0.2
    assert shares[-1] > 0.7
    results = run(config, told=told.append)
    assert len(known) == 1  # kept in the cache
    first, again = told
    assert first.total == first.whole > 0
    assert again.kept == {"refusal tokens", "activations", "induce scores", "ablation scores", "KL", "pca", "stability"}
    assert again.total == 0
    assert "is kept from before" in again.sentence()
    assert results["settings"]["preset"] == "full"
    assert "budget" not in results["settings"]
    assert "full is the largest preset that ends within" in first.sentence()
    assert set(first.others) == set(PRESETS) - {"full"}


def test_a_machine_is_measured_once_for_a_model(known, monkeypatch, tmp_path, caplog):
    model, other = tiny_chat_model("llama"), tiny_chat_model("qwen2")
    for _ in range(2):
        assert speed_of(model, ["Name a river"]).a_token == 1e-3
    assert len(known) == 1
    speed_of(other, ["Name a river"])
    assert len(known) == 2
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    speed_of(model, ["Name a river"])
    assert len(known) == 3
    for path in (tmp_path / "cache" / "speed").iterdir():
        path.write_text("{")
    speed_of(model, ["Name a river"])
    assert len(known) == 4
    assert "damaged; this machine is measured again" in caplog.text


@pytest.mark.parametrize(("others", "times"), [(0.1, 1), (1.5, 2)])
def test_a_busy_machine_is_measured_again_next_time(known, monkeypatch, others, times):
    @contextmanager
    def other_work():
        yield Load(others)

    monkeypatch.setattr(speeds, "other_work", other_work)
    monkeypatch.setattr(speeds, "QUIET", QUIET)
    model = tiny_chat_model("llama")
    for _ in range(2):
        speed_of(model, ["Name a river"])
    assert len(known) == times


def test_what_other_processes_use_is_seen_and_what_this_one_uses_is_not(monkeypatch):
    """Against made counters: in 10 seconds the cores work 14, of which 6 are this process's."""
    clock, cores, own = iter((100.0, 110.0)), iter((50.0, 64.0)), iter((7.0, 13.0))
    monkeypatch.setattr(loads.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(loads, "_busy", lambda: next(cores))
    monkeypatch.setattr(loads, "_own", lambda: next(own))
    with loads.other_work() as beside:
        pass
    assert beside.others == pytest.approx(0.8)
    monkeypatch.undo()
    assert loads._busy() > loads._own() > 0


def test_processors_of_one_name_are_told_apart(known, monkeypatch, tmp_path):
    """Cloud machines call three generations "AMD EPYC"; what one of them measured is no other's speed."""
    text, model = "model name\t: AMD EPYC\ncpu family\t: {}\nmodel\t\t: 1\nstepping\t: 1\n\n", tiny_chat_model("llama")
    seen, read = [], Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda self, *a, **k: text.format(seen[-1]) if str(self) == "/proc/cpuinfo" else read(self, *a, **k),
    )
    for family in (25, 26, 25):
        seen.append(family)
        speed_of(model, ["Name a river"])
    assert len(known) == 2


def test_measuring_gives_a_cost_to_every_part():
    found = speeds.measured_speed(tiny_chat_model("llama"), ["Name a river", "Why is 7 odd?"])
    assert found.seconds(Work(1, 1, 1, 1, 1, 1)) > 0
    assert min(found.a_pass, found.a_token, found.a_step, found.a_step_token, found.a_head, found.a_state) >= 0
    assert 1 <= found.answer_tokens <= 24
    assert 0 <= found.answers_cut <= 1


def test_the_work_of_kept_pieces_is_known(tmp_path):
    model = tiny_chat_model("llama")
    pieces = Pieces.of(tmp_path, model)
    pieces.save("a", 1, Work(block_tokens=5))
    pieces.save("b", 2, Work(block_tokens=7))
    (tmp_path / "c.piece").write_bytes(b"damaged")
    again = Pieces.of(tmp_path, model)
    assert again.work() == Work(block_tokens=12)
    assert not again.used
