"""Shards, batch by batch and through bytes, give what one process gives: to the bit, for batches are fixed beforehand."""

import numpy as np
import pytest
import torch

from labs import SIZES
from rhat.distributed.packing import pack, unpack
from rhat.executor import KEPT, SerialExecutor, Worker
from rhat.interventions import Intervention, ablate, add, set_projection
from rhat.lab import Lab, RotatedControls
from rhat.lab import lab as labs
from rhat.selection.finding import find
from rhat.selection.settings import FindSettings


class Sharded(SerialExecutor):
    """A cluster in one process: a worker for every batch, and everything travels as bytes."""

    wave = 3

    def __init__(self):
        super().__init__()
        self.n_shards = []

    def split(self, n_batches):
        return [range(i, i + 1) for i in range(n_batches)]

    def map(self, task, model, common, shards, *, sizes=None, progress=None, each=None):
        self.n_shards.append(len(shards))
        sizes = [1] * len(shards) if sizes is None else sizes
        sent, results = pack(common), []
        for index in reversed(range(len(shards))):  # in no order that anybody may rely on
            results.insert(0, unpack(pack(task(Worker(model), unpack(sent), unpack(pack(shards[index]))))))
            if each:
                each(index, results[0])
            if progress:
                progress(sum(sizes[index:]), sum(sizes))
        return results


@pytest.fixture(scope="module")
def serial(model, prompts):
    return find(model, prompts)


def numbers(lab):
    """Some of each measurement that goes through the executor."""
    d = lab.direction
    m = lab.measure("ablate", ablate(d), "harmful", 70, kl=True)

    dealing = RotatedControls(
        tuple(Intervention("set_projection", unit, d.layer, 3.0) for unit in lab.random_units()[:3])
    )
    each = lab.measure_conditions({"baseline": None, "add": add(d), "dealt": dealing}, "harmless", 70)
    return {
        "scores": lab.score_conditions([set_projection(d), ablate(d), add(d), add(d, 2.0)], "harmless", 70, kl=True),
        "score": lab.score(set_projection(d), "harmless", 70, kl=True),
        "measured": (m.scores, m.kl, m.verdicts, m.texts),
        "each": [(m.scores, m.verdicts, m.texts) for m in each.values()],
        "read": lab.activations(lab.test("harmless", 70), [0, 2], edits=ablate(d).edits(lab.model)).numpy(),
    }


def flat(parts):
    """What nested lists and tuples hold, in order."""
    return [x for part in parts for x in flat(part)] if isinstance(parts, list | tuple) else [parts]


@pytest.mark.parametrize("all_kl", [False, True])
def test_finding_is_the_same_to_the_bit(model, prompts, all_kl):
    settings = FindSettings(all_kl=all_kl)
    executor = Sharded()
    one, many = find(model, prompts, settings), find(model, prompts, settings, executor=executor)
    assert one.outcome == many.outcome == "found"
    assert one.candidates == many.candidates
    assert sum("kl" in c for c in one.candidates) > 1 or not all_kl
    assert one.refusal_tokens == many.refusal_tokens
    assert one.kept == many.kept
    assert torch.equal(one.means.candidates, many.means.candidates)
    assert torch.equal(one.direction.unit, many.direction.unit)
    assert max(executor.n_shards) > 4


@pytest.mark.parametrize(
    "kl_prompts", [256, 66]
)  # 66: KL of the first 66 prompts, whose batches are not those of all 70
def test_measurements_are_the_same(model, prompts, serial, monkeypatch, kl_prompts):
    monkeypatch.setattr(labs, "KL_PROMPTS", kl_prompts)
    executor = Sharded()
    one = numbers(Lab(model, prompts, serial, SIZES))
    many = numbers(Lab(model, prompts, serial, SIZES, executor=executor))
    assert len(one["measured"][1]) == min(70, kl_prompts)
    for name, parts in one.items():
        for a, b in zip(flat(parts), flat(many[name]), strict=True):
            if isinstance(a, str):
                assert a == b
            else:
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=name)
    assert executor.n_shards.count(2) >= 3


def test_shards_are_told_in_order_and_counted_in_their_own_unit():
    seen = []

    def task(worker, common, shard):
        worker.tell(1)
        worker.tell(99)  # never more than its size
        return common + shard

    results = SerialExecutor().map(task, None, 10, [1, 2], sizes=[3, 4], progress=lambda *x: seen.append(x))
    assert results == [11, 12]
    assert seen == [(1, 7), (3, 7), (4, 7), (7, 7)]


def test_a_quiet_task_still_counts():
    seen = []
    SerialExecutor().map(lambda w, c, s: s, None, None, "ab", progress=lambda *x: seen.append(x))
    assert seen == [(1, 2), (2, 2)]


def test_what_a_worker_keeps_is_made_once_and_the_oldest_is_forgotten():
    made = []

    def make(key):
        return lambda: made.append(key) or key

    worker = Worker(None)
    for key in ["a", *range(KEPT - 1), "a", "new"]:
        assert worker.keep(key, make(key)) == key
    assert made == ["a", *range(KEPT - 1), "new"]
    worker.keep("a", make("a"))  # used lately, so kept
    worker.keep(0, make(0))  # the oldest, so made again
    assert made[-1] == 0
    assert made.count("a") == 1


def test_another_model_is_another_worker():
    executor = SerialExecutor()

    def task(worker, _common, _shard):
        return worker.keep("model", lambda: worker.model)

    assert executor.map(task, "one", None, [0]) == ["one"]
    assert executor.map(task, "other", None, [0]) == ["other"]


def test_the_base_run_is_kept_and_used(model, prompts, serial):
    """A second score of the same prompts does not run them unedited again."""
    lab = Lab(model, prompts, serial, SIZES)
    lab.score(set_projection(serial.direction), "harmless", 70, kl=True)
    seen = []
    handle = model.layout.parts[0].block.register_forward_hook(lambda *_: seen.append(1))
    try:
        lab.score(Intervention("add", serial.direction.unit, serial.direction.layer, 1.0), "harmless", 70, kl=True)
    finally:
        handle.remove()
    assert serial.direction.layer == 1
    assert not seen or len(seen) <= 3  # layer // 2 is 0, so blocks run from there: prefix and two batches, once
