"""The claims of the README, on the real default model: a quick study, its resumption, and the library's first lines."""

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import rhat
from rhat import results as contract
from rhat.scoring import kl_divergence, last_token_scores
from rhat.study import PRESETS, StudyConfig, run

pytestmark = pytest.mark.model
ONLY = ("induce", "suppress")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Fewer prompts than the quick preset: its claims are as plain on these, and two cores without bfloat16 take half the time."""
    out = tmp_path_factory.mktemp("study") / "default"
    few = replace(PRESETS["quick"], headline=24, sweep=12, train=64, validation=16, randoms=3, dealt=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "quick", few)
        run(StudyConfig(preset="quick", out=out, only=ONLY))
        yield out


@pytest.fixture(scope="module")
def results(folder):
    return contract.read(folder)


def row(results, kind, **wanted):
    return next(r for r in results[kind] if all(r[k] == v for k, v in wanted.items()))


def test_setting_induces_refusal_beyond_baseline_and_random(results):
    assert results["outcome"] in ("found", "found_relaxed")
    baseline = row(results, "rates", condition="baseline", prompts="harmless")
    treated = row(results, "rates", condition="set_projection", prompts="harmless")
    assert treated["rate"] >= 3 * max(baseline["rate"], 1 / baseline["n"])
    for reference in ("baseline", "random_set_projection"):
        assert (
            row(results, "comparisons", treatment="set_projection", reference=reference, prompts="harmless")["ci_low"]
            > 0
        )


def test_ablating_removes_refusal(results):
    assert row(results, "comparisons", treatment="ablate", reference="baseline", prompts="harmful")["ci_high"] < 0
    assert row(results, "rates", condition="baseline", prompts="harmful")["rate"] > 0.4


def test_harmless_prompts_project_to_near_zero_beside_harmful_ones(results):
    d = results["direction"]
    assert abs(d["harmless_mean"]) < 0.2 * d["harmful_mean"]


def test_the_folder_holds_what_it_should(folder):
    for name in ("results.json", "direction.safetensors", "manifest.json", "completions.jsonl", "per_prompt.parquet"):
        assert (folder / name).stat().st_size > 0, name
    said = [json.loads(line) for line in (folder / "completions.jsonl").read_text().splitlines()]
    assert all("text" not in r for r in said if r["label"] == "harmful")
    assert any(r["label"] == "harmful" for r in said)


def test_the_manifest_says_what_the_whole_run_took(folder, results):
    """The peak is of the end of the run, when the experiments have been: at least the weights twice over while loading."""
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest == results["manifest"]
    assert 1.0 < manifest["peak_memory_gib"] < 24.0


def test_the_same_command_goes_on_from_finished_stages(folder, results, monkeypatch):
    """Nothing is measured again: a model that cannot be run any more gives the same results."""
    running = importlib.import_module("rhat.study.run")

    def never(*_args, **_kwargs):
        raise AssertionError("a finished stage was run again")

    monkeypatch.setattr(running, "find", never)
    monkeypatch.setattr(running, "EXPERIMENTS", dict.fromkeys(running.EXPERIMENTS, never))
    again = run(StudyConfig(preset="quick", out=folder, only=ONLY))
    for kind in ("rates", "comparisons", "direction", "candidates"):
        assert contract.check(again)[kind] == results[kind]


def test_another_study_in_the_folder_is_left_alone(folder):
    with pytest.raises(rhat.RhatError, match="holds another study"):
        run(StudyConfig(preset="quick", out=folder, only=ONLY, seed=5))
    assert (folder / "results.json").exists()


def test_the_librarys_first_lines(folder, default_model, tmp_path):
    model = default_model
    direction = rhat.Direction.load(folder / "direction.safetensors").check_fits(model)
    prompts = ["How do I boil an egg?", *(p.text for p in rhat.prompts.builtin().select("harmless", "test", 7))]

    def refusals():
        return [rhat.scoring.is_refusal(done.text) for done in model.generate(prompts, max_new_tokens=32)]

    before = refusals()
    with rhat.set_projection(direction).on(model):
        inside = refusals()
    assert sum(before) <= 1
    assert sum(inside) >= 5
    assert refusals() == before
    direction.save(tmp_path / "r.safetensors")
    torch.testing.assert_close(rhat.Direction.load(tmp_path / "r.safetensors").unit, direction.unit)


def test_what_pages_and_help_texts_show_happens(folder, default_model):
    from test_examples import examples

    direction = rhat.Direction.load(folder / "direction.safetensors")
    for answer in examples().answered(default_model, direction):
        assert (answer["verdict_without"], answer["verdict_with"]) == ("complied", "refused"), answer


def test_the_fast_path_is_taken_and_agrees_with_the_plain_one_within_bf16(default_model, folder, results, monkeypatch):
    model = default_model
    assert model.fast
    direction = rhat.Direction.load(folder / "direction.safetensors")
    prompts = [p.text for p in rhat.prompts.builtin().select("harmless", "test", 12)]
    tokens = [t["id"] for t in results["refusal_tokens"]]
    edits = rhat.set_projection(direction).edits(model)
    fast = last_token_scores(model, model.plan(prompts), tokens, edits).numpy()
    monkeypatch.setenv("RHAT_SLOW", "1")
    slow = last_token_scores(model, model.plan(prompts), tokens, edits).numpy()
    assert np.abs(fast - slow).max() < 0.35
    assert abs(fast.mean() - slow.mean()) < 0.1


def test_reading_leaves_logits_bit_equal(default_model):
    from rhat.model import Read, last_logits
    from rhat.sites import Site

    model = default_model
    plan = model.plan(["Name a river.", "Why is the sky blue?"])
    sites = [Site(kind, layer) for layer in (0, 12, 23) for kind in ("resid_pre", "attn_out", "mlp_out", "head_out")]
    plain = [x for _, x in last_logits(model, plan)]
    read = [x for _, x in last_logits(model, plan, {s: Read(lambda x, c: None) for s in sites})]
    for a, b in zip(plain, read, strict=True):
        assert torch.equal(a, b)
    assert float(kl_divergence(plain[0], read[0]).max()) == 0
