"""The ledger of work: held against torch's own counter of operations."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rhat.directions import random_direction
from rhat.generation import generate_tokens
from rhat.interventions import Intervention
from rhat.model import cache_clean_run
from rhat.model.logits import last_logits
from rhat.model.work import Work, add, counting, so_far
from tiny import tiny_chat_model

LONG = "why is seven odd? Say it in many more words than that"
TEXTS = ["Name a river", LONG, "how tall is the house next to the river"]
FAMILIES = ("llama", "qwen2", "gemma2", "gpt2", "phi", "opt", "gpt-neox")


def counted(model, run):
    """(the ledger's total, what torch counted)."""
    model.hf.set_attn_implementation("eager")  # torch counts no fused attention on processors
    assert model.fast  # tried before torch begins to count
    with counting() as ledger, FlopCounterMode(display=False) as theirs:
        run()
    return ledger.total, theirs.get_total_flops()


def alike(got, expected):
    assert abs(got - expected) <= 0.01 * expected, (
        got,
        expected,
    )  # turning positions and the like are not in the ledger


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("slow", [0, 1])
def test_operations_are_those_that_torch_counts(family, slow, monkeypatch):
    monkeypatch.setenv("RHAT_SLOW", str(slow))
    model = tiny_chat_model(family)
    plan = model.plan(TEXTS)
    work, expected = counted(model, lambda: list(last_logits(model, plan)))
    alike(work.flop, expected)
    assert work.vocabulary_tokens >= len(TEXTS)
    assert (work.vocabulary_tokens == len(TEXTS)) == (not slow)  # the plain path gives every position's


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_decoding_is_counted_step_by_step(family):
    model = tiny_chat_model(family)
    prompts = model.tokenize(TEXTS)
    said = []
    work, expected = counted(
        model, lambda: said.extend(generate_tokens(model, prompts, max_new_tokens=5, ignore_eos=True))
    )
    alike(work.flop, expected)
    assert work.block_step_tokens == model.n_layers * len(TEXTS) * 4  # the first token is the prompt's pass
    assert work.block_steps == model.n_layers * 4
    assert work.vocabulary_tokens == 5 * len(TEXTS)


def test_blocks_that_are_not_run_do_not_count():
    model = tiny_chat_model("llama")
    plan = model.plan(TEXTS)
    base = cache_clean_run(model, plan, [2])
    edits = Intervention("add", random_direction(model.d_model, 0), 2, 1.0).edits(model)
    from_2, expected = counted(model, lambda: list(last_logits(model, plan, edits, base)))
    alike(from_2.flop, expected)
    whole, _ = counted(model, lambda: list(last_logits(model, plan, edits)))
    tokens = plan.prefix_length + sum(batch.ids.numel() for batch in plan.batches)
    assert whole.block_tokens == model.n_layers * tokens
    assert from_2.block_tokens < whole.block_tokens / 2


@pytest.mark.parametrize("layers", [[0], [1], [0, 2]])
def test_a_clean_run_computes_what_is_kept_of_it(layers):
    """Prompts up to the highest kept layer, and the shared prefix at every layer; the numbers are those of a whole run."""
    model = tiny_chat_model("llama")
    plan = model.plan(TEXTS)
    own = sum(batch.ids.numel() for batch in plan.batches)
    with counting() as done:
        base = cache_clean_run(model, plan, layers)
    assert plan.prefix_length
    assert done.total.block_tokens == model.n_layers * plan.prefix_length + max(layers) * own
    with counting() as done:
        whole = cache_clean_run(model, plan, layers, keep_kv=True)
    assert done.total.block_tokens == model.n_layers * (plan.prefix_length + own)
    for some, others in zip(base.residuals, whole.residuals, strict=True):
        assert list(some) == list(others) == layers
        assert all(torch.equal(some[layer], others[layer]) for layer in layers)


def test_ledgers_add_up_and_nothing_is_counted_without_one():
    model = tiny_chat_model("llama")
    plan = model.plan(TEXTS)
    list(last_logits(model, plan))
    assert so_far() == Work()
    with counting() as outer:
        list(last_logits(model, plan))
        once = outer.total
        with counting() as inner:
            list(last_logits(model, plan))
        with counting(apart=True) as apart:
            list(last_logits(model, plan))
        assert inner.total == apart.total == once
        assert outer.total == once.times(2)
        add(once)
    assert outer.total == once.times(3)
    assert outer.total - once.times(2) == once
