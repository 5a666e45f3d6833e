"""A local Ray cluster of two workers gives what one process gives; killing one of them changes nothing but the time."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import rhat
from labs import SIZES
from rhat.errors import ModelError, PromptError, StudyError
from rhat.interventions import ablate, set_projection
from rhat.lab import Lab
from rhat.selection.finding import find
from rhat.selection.settings import FindSettings
from rhat.study import StudyConfig, run

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'rhat[ray]'")
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
SETTINGS = FindSettings(all_kl=True)
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def serial(model, prompts):
    found = find(model, prompts, SETTINGS)
    assert found.outcome == "found", found.sentence
    return found


def numbers(candidate):
    """A row of the table but for its status."""
    return {name: value for name, value in candidate.items() if name != "status"}


def same(one, other):
    """The same r̂, the same choice, the same table."""
    assert float(one.direction.unit @ other.direction.unit) > 0.9999
    assert (one.direction.layer, one.direction.position) == (other.direction.layer, other.direction.position)
    assert [c["status"] for c in one.candidates] == [c["status"] for c in other.candidates]
    for a, b in zip(one.candidates, other.candidates, strict=True):
        assert numbers(a) == pytest.approx(numbers(b), rel=1e-9)
    assert one.refusal_tokens == other.refusal_tokens
    assert one.kept == other.kept
    assert torch.equal(one.means.candidates, other.means.candidates)


def test_two_workers_find_what_one_process_finds(ray_executor, model, prompts, serial):
    seen = []
    found = find(model, prompts, SETTINGS, progress=lambda *x: seen.append(x), executor=ray_executor)
    same(serial, found)
    assert len(ray_executor.pids) >= 1
    assert os.getpid() not in ray_executor.pids
    for stage in ("refusal tokens", "activations", "induce scores", "ablation scores", "KL"):
        told = [(done, total) for name, done, total in seen if name == stage]
        assert told == sorted(told), stage  # one bar, which never falls back
        assert told[-1][0] == told[-1][1], stage


def test_rates_and_scores_are_the_same(ray_executor, model, prompts, serial):
    labs = [Lab(model, prompts, serial, SIZES, **with_) for with_ in ({}, {"executor": ray_executor})]
    for treatment, label in (
        (None, "harmful"),
        (ablate(serial.direction), "harmful"),
        (set_projection(serial.direction), "harmless"),
    ):
        one, other = (lab.measure(f"{treatment}", treatment, label, 72, kl=True) for lab in labs)
        assert one.verdicts == other.verdicts
        assert one.scores == pytest.approx(other.scores, rel=1e-9)
        assert one.kl == pytest.approx(other.kl, rel=1e-7, abs=1e-12)
    assert labs[0].measurements["None", "harmful"].refused.mean() > 0.9  # rates worth comparing
    assert labs[0].measurements[f"{ablate(serial.direction)}", "harmful"].refused.mean() < 0.1
    assert torch.equal(labs[0].training["harmful"], labs[1].training["harmful"])


def test_killing_a_worker_changes_nothing(ray_executor, model, prompts, serial):
    before, killed = ray_executor.replaced, []

    def kill(stage, done, _total):
        if stage == "induce scores" and done == 2:
            killed.append(ray_executor.pids[-1])
            os.kill(killed[0], signal.SIGKILL)

    same(serial, find(model, prompts, SETTINGS, progress=kill, executor=ray_executor))
    deadline = time.monotonic() + 30
    while ray_executor.replaced == before and time.monotonic() < deadline:
        ray_executor.map(_slowly, model, None, range(4))
    assert ray_executor.replaced > before
    assert killed[0] not in ray_executor.pids


def _slowly(_worker, _common, shard):
    time.sleep(0.2)
    return shard


def _refuse(_worker, _common, shard):
    raise PromptError(f"shard {shard}: not this one")


def _die(_worker, _common, _shard):
    os.kill(os.getpid(), signal.SIGKILL)


def _template(worker, common, shard):
    return worker.model.response_prefix, worker.model.template_length, common, shard


def test_workers_take_a_response_prefix_that_was_chosen_after_they_were_loaded(ray_executor, model):
    assert ray_executor.map(_template, model, "all", [0]) == [("", model.template_length, "all", 0)]
    before, beyond = ray_executor.pids, model.with_response_prefix("Well. ")
    assert beyond.template_length > model.template_length
    for said in (beyond, model, beyond):
        assert ray_executor.map(_template, said, "all", [0, 1]) == [
            (said.response_prefix, said.template_length, "all", i) for i in (0, 1)
        ]
    assert set(before) <= set(ray_executor.pids)


def test_what_a_task_raises_is_raised_here(ray_executor, model):
    with pytest.raises(PromptError, match="shard 7: not this one"):
        ray_executor.map(_refuse, model, None, [7])
    assert ray_executor.map(_slowly, model, None, [1, 2, 3]) == [1, 2, 3]  # and the workers work on


def test_a_shard_that_kills_its_workers_is_given_up(ray_executor, model, monkeypatch):
    monkeypatch.setattr("rhat.distributed.call.DEATHS", 1)
    with pytest.raises(StudyError, match=r"workers died 1 times over shard 1 of 1 .*; give them more memory"):
        ray_executor.map(_die, model, None, [0])
    assert ray_executor.map(_slowly, model, None, [1]) == [1]


def test_workers_with_another_model_are_refused(ray_executor, tmp_path_factory, model):
    from refusing import refusing_folder

    other = rhat.load(refusing_folder(tmp_path_factory.mktemp("models") / "other", steps=0, n_layers=3))
    with pytest.raises(
        ModelError,
        match=r"on a Ray worker: got revision_or_sha256 .* expected .*; give all machines the same files",
    ):
        ray_executor.map(_slowly, other, None, [0])
    assert ray_executor.map(_slowly, model, None, [1]) == [1]  # and with its own model it works again


def test_a_closed_executor_says_so(ray_executor, model):
    from rhat.distributed import RayExecutor

    executor = RayExecutor(ray_executor.arguments, workers=1)
    executor.close()
    with pytest.raises(StudyError, match="it was closed; make a new one"):
        executor.map(_slowly, model, None, [0])


def test_batches_are_shared_out_alike_whatever_the_workers(ray_executor):
    assert ray_executor.split(5) == [range(i, i + 1) for i in range(5)]
    many = ray_executor.split(1000)
    assert len(many) == 256
    assert [i for shard in many for i in shard] == list(range(1000))


def test_a_study_on_ray_writes_the_results_of_a_serial_one(ray_executor, folder, prompts, tmp_path):
    files = {}
    for label in ("harmful", "harmless"):
        files[label] = tmp_path / f"{label}.jsonl"
        rows = [{"prompt": p.text, "split": p.split} for p in prompts.prompts if p.label == label]
        files[label].write_text("\n".join(json.dumps(row) for row in rows))
    results = []
    for name, executor in (("serial", None), ("ray", ray_executor)):
        config = StudyConfig(
            model=str(folder),
            dtype="float64",
            preset="quick",
            only=("suppress",),
            out=tmp_path / name,
            harmful=str(files["harmful"]),
            harmless=str(files["harmless"]),
        )
        results.append(run(config, executor=executor))
    one, other = results
    assert one["outcome"] == other["outcome"] == "found"
    assert one["direction"] == other["direction"]
    assert one["candidates"] == other["candidates"]  # by early stopping, which only a search of all scores leaves out
    assert one["rates"] == other["rates"]
    assert one["comparisons"] == other["comparisons"]
    assert len(one["rates"]) >= 4


def test_an_address_where_no_cluster_is(tmp_path):
    """In a process of its own: this one is already in a cluster."""
    code = (
        "from rhat.distributed import RayExecutor\n"
        "from rhat.errors import StudyError\n"
        "try:\n    RayExecutor({'name': 'm'}, '127.0.0.1:1')\n"
        "except StudyError as error:\n    print('said:', error)\n"
    )
    done = subprocess.run(
        ["timeout", "50", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "said: executor ray: cannot use the cluster at 127.0.0.1:1" in done.stdout, done.stderr[-500:]
    assert "`ray start --head`" in done.stdout
