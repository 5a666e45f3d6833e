"""A study that is interrupted, or that meets a full disk, on a tiny model that was taught to refuse."""

import errno
import os
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

import studies
from rhat import results as contract
from rhat.errors import ArtifactError
from rhat.lab import PRESETS
from rhat.study import StudyConfig, run

ONLY = ("induce", "suppress", "projections")


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    return studies.arguments(tmp_path_factory.mktemp("study")) | {"preset": "quick", "only": ONLY}


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    """The same study in one go."""
    return run(StudyConfig(**arguments, out=tmp_path_factory.mktemp("whole") / "run"))


def same(one, other):
    for kind in ("outcome", "direction", "candidates", "rates", "comparisons", "primary", "projections"):
        assert one[kind] == other[kind], kind


def work(results):
    return {row["stage"]: {k: v for k, v in row.items() if k not in ("stage", "seconds")} for row in results["timings"]}


def test_every_stage_that_runs_the_model_says_what_it_computed(whole):
    said = work(whole)
    assert not said.pop("loading")
    for stage, one in said.items():
        assert one["block_tokens"] > 0, stage
        assert one["gflop"] > 0, stage
    for stage in ("refusal tokens", "induce", "suppress"):
        assert said[stage]["decode_steps"] > 0, stage
    assert not said["activations"]["decode_steps"]
    assert said["induce"]["vocabulary_tokens"] > said["activations"]["vocabulary_tokens"]


def test_what_was_interrupted_goes_on(arguments, whole, tmp_path):
    config = StudyConfig(**arguments, out=tmp_path / "run")
    seen = []

    def interrupt(stage, _done, _total):
        seen.append(stage)
        if stage == "suppress":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, progress=interrupt)
    kept = {path.name for path in (tmp_path / "run" / "stages").iterdir()}
    assert {"find.json", "induce.json"} <= kept
    assert "suppress.json" not in kept
    assert not (tmp_path / "run" / "results.json").exists()
    again = []
    resumed = run(config, progress=lambda stage, _done, _total: again.append(stage))
    same(whole, resumed)
    one, other = work(resumed), work(whole)
    finished = ("refusal tokens", "activations", "induce scores", "ablation scores", "KL", "induce")
    assert [one[stage] for stage in finished] == [other[stage] for stage in finished]
    # what a process keeps from one experiment to the next was made again
    assert other["suppress"]["block_tokens"] <= one["suppress"]["block_tokens"] <= 2 * other["suppress"]["block_tokens"]
    assert "induce scores" in seen
    assert "induce scores" not in again
    assert "induce" not in again
    assert "suppress" in again


def test_a_disk_that_fills_up_keeps_what_is_finished(arguments, whole, tmp_path, monkeypatch):
    config = StudyConfig(**arguments, out=tmp_path / "run")
    plain = os.replace

    def full(source, target):
        if str(target).endswith("suppress.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(
        ArtifactError, match=r"suppress\.json: cannot be written \(No space left on device\); free space"
    ):
        run(config)
    left = sorted(path.name for path in (tmp_path / "run" / "stages").iterdir())
    assert left == [
        "find.json",
        "finding.safetensors",
        "induce.json",
        "pieces",
        "projections.json",
        "study.json",
    ]  # and no half-written file
    monkeypatch.setattr(os, "replace", plain)
    same(whole, run(config))


@pytest.mark.parametrize("only", [("suppress", "heads"), ("guard", "dose_response"), ("dose_response", "guard")])
def test_a_study_that_is_asked_for_again_says_the_same(arguments, tmp_path, monkeypatch, only):
    """One experiment measures a condition on few prompts, the other the same on all, or for its KL."""
    monkeypatch.setitem(PRESETS, "quick", replace(PRESETS["quick"], headline=13, sweep=4, randoms=2, dealt=2))
    config = StudyConfig(**arguments | {"only": only}, out=tmp_path / "run")
    files = ("completions.jsonl", "per_prompt.parquet")
    first = run(config)
    kept = [(tmp_path / "run" / name).read_bytes() for name in files]
    again = run(config)
    for one in (first, again):
        one.pop("manifest")
    assert [row for row in again.pop("timings") if row["stage"] != "loading"] == [
        row for row in first.pop("timings") if row["stage"] != "loading"
    ]
    assert again == first
    assert [(tmp_path / "run" / name).read_bytes() for name in files] == kept
    if "guard" in only:
        rows = pq.read_table(tmp_path / "run" / "per_prompt.parquet").to_pylist()
        mine = [row["kl"] for row in rows if (row["condition"], row["label"]) == ("set_projection", "harmless")]
        assert [kl is None for kl in mine] == [False] * 4 + [True] * 9


def test_a_stage_cut_short_is_run_again(arguments, whole, tmp_path):
    config = StudyConfig(**arguments, out=tmp_path / "run")
    run(config)
    stage = tmp_path / "run" / "stages" / "induce.json"
    stage.write_text(stage.read_text()[:100])
    (tmp_path / "run" / "stages" / "finding.safetensors").write_bytes(b"short")
    same(whole, run(config))


def test_results_satisfy_the_contract(whole):
    contract.check(whole)


def test_too_few_prompts_say_how_many_would_do(whole):
    assert whole["power"]
    for row in whole["power"]:
        assert row["n"] == 13
        assert row["prompts_needed"] > row["n"]


def test_too_few_kept_prompts_is_a_result(arguments, tmp_path):
    """Harmful and harmless exchanged: the model behaves as labelled on none."""
    exchanged = arguments | {"harmful": arguments["harmless"], "harmless": arguments["harmful"]}
    done = run(StudyConfig(**exchanged, out=tmp_path / "run"))
    assert done["outcome"] == "no_refusal"
    assert "direction" not in done
    contract.check(done)


def test_stages_of_a_preset_with_other_numbers_are_not_used_again(monkeypatch):
    config = StudyConfig(preset="quick")
    before = config.fingerprint("model", "prompts")
    assert config.fingerprint("model", "prompts") == before
    monkeypatch.setitem(PRESETS, "quick", replace(PRESETS["quick"], randoms=PRESETS["quick"].randoms + 1))
    assert config.fingerprint("model", "prompts") != before
