"""A row whose logits are no distribution ends the call, or, where rows are isolated, that row alone."""

import math

import pytest
import torch

import rhat
from overflow import BAD, FINE, POISON, poison_id, poisoned
from rhat.errors import NonFiniteError, PromptError
from rhat.generation import Engine, Probe, Request, Sampling, sample_per_request
from rhat.sites import Site
from tiny import tiny_tokenizer

TEXTS = ("a stone", "the other road", "where it rains", "his three old boats", "no one")


@pytest.fixture(scope="module")
def model():
    return rhat.load((poisoned(torch.float64), tiny_tokenizer()))


def finish(engine):
    while engine.rows:
        engine.step()


def alone(model, prompt, n):
    engine = Engine(model, n_slots=1)
    [row] = engine.add([Request(prompt, n, ignore_eos=True)])
    finish(engine)
    return row.generated


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    "how",
    [{}, {"sampling": Sampling(1.0, 0.9)}, {"logprobs": 3}, {"probe": Probe(Site("resid_pre", 1), torch.eye(48)[0])}],
)
def test_a_bad_row_fails_alone_where_rows_are_isolated(model, how, plain):
    prompts = model.tokenize([*TEXTS[:2], BAD, *TEXTS[2:]])
    requests = [Request(p, 5, row=i, ignore_eos=True, **how) for i, p in enumerate(prompts)]
    engine = Engine(model, isolate=True, plain=plain)
    rows = engine.add(requests)
    assert rows[2].finish_reason == "failed"
    assert "from the embeddings (resid_pre.0) on" in str(rows[2].error)
    assert not rows[2].generated
    finish(engine)
    others = [row for row in rows if row is not rows[2]]
    assert {row.finish_reason for row in others} == {"length"}
    again = Engine(model, plain=plain)
    truth = again.add([request for request in requests if request.row != 2])
    finish(again)
    assert [row.generated for row in others] == [row.generated for row in truth]
    with pytest.raises(NonFiniteError, match="the embeddings"):
        Engine(model, plain=plain).add(requests)


def test_what_a_row_that_failed_leaves_in_its_slot_reaches_no_other(model):
    """The row in the middle says the poisoned token and fails a step later; who takes its slot, and attends to fewer keys,
    says what it says alone."""
    prompts = model.tokenize(TEXTS)
    for which in range(3):

        def choose(logits, rows, which=which):
            tokens = sample_per_request(logits, rows)
            for i, row in enumerate(rows):
                if row.request.row == which and len(row.generated) == 6:
                    tokens[i] = poison_id(POISON)
            return tokens

        engine = Engine(model, n_slots=3, isolate=True, choose=choose)
        rows = engine.add([Request(p, 30, row=i, ignore_eos=True) for i, p in enumerate(prompts[:3])])
        while not any(row.error for row in rows):
            engine.step()
        assert [row.finish_reason for row in rows].count("failed") == 1
        assert rows[which].generated[-1] == poison_id(POISON)
        late = engine.add([Request(prompts[4], 12, row=9, ignore_eos=True)])
        finish(engine)
        for row in [*rows, *late]:
            if row is not rows[which]:
                assert row.finish_reason == "length"
                assert row.generated == alone(model, row.request.tokens, row.request.max_new_tokens)


def test_generate_and_refusals_end_with_one_line(model):
    from rhat.scoring import refusals

    for run in (
        lambda: model.generate([FINE, BAD], 4),
        lambda: refusals(model, model.tokenize([FINE, BAD])),
        lambda: refusals(model, model.tokenize([FINE, BAD]), first_logits=lambda _which, _logits: None),
    ):
        with pytest.raises(NonFiniteError, match=r"from the embeddings \(resid_pre\.0\) on"):
            run()


def test_sampling_takes_numbers_only():
    for bad in (
        {"presence_penalty": math.nan},
        {"frequency_penalty": math.inf},
        {"logit_bias": {3: math.nan}},
        {"logit_bias": {3: math.inf}},
        {"temperature": math.nan},
        {"top_p": math.nan},
    ):
        with pytest.raises(PromptError, match=r"nan|inf"):
            Sampling(**bad)


def test_a_temperature_near_0_takes_the_likeliest():
    logits = torch.tensor([1.0, 3.0, -torch.inf, 2.0])
    for temperature in (1e-310, 5e-324, 1e-30):
        assert {Sampling(temperature).pick(logits, (), torch.Generator().manual_seed(i)) for i in range(20)} == {1}
    banned = Sampling(1.0, logit_bias={1: -math.inf})
    assert {banned.pick(logits, (), torch.Generator().manual_seed(i)) for i in range(50)} == {0, 3}
