"""Numbers that are not finite end a load, a pass, a capture or a check: where they began, and what to do."""

import math

import pytest
import torch

import rhat
from overflow import BAD, FINE, PLACES, at_the_edge, beyond, poisoned
from rhat.capture import capture, capture_all_tokens, captured
from rhat.errors import NonFiniteError
from rhat.interventions import Intervention
from rhat.model import cache_clean_run, last_logits
from rhat.model.check import check
from rhat.model.conditions import last_logits_under
from rhat.model.finite import distance, faulty
from rhat.model.prover import Prover
from rhat.scoring import cross_entropy, kl_divergence, refusal_score
from rhat.sites import Site
from tiny import tiny_chat_model, tiny_hf, tiny_tokenizer

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
LONG = "Why is the sky blue at noon and red in the evening, and what of the night?"
REMEDY = {torch.float16: "--dtype bfloat16 or float32", torch.bfloat16: "--dtype float32", torch.float32: "float64"}


def loaded(hf):
    return rhat.load((hf, tiny_tokenizer()))


@pytest.fixture(scope="module")
def poison():
    return loaded(poisoned())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", ["attention", "mlp", "final norm", "lm head"])
def test_load_says_where_and_what_to_do(place, dtype):
    with pytest.raises(NonFiniteError) as raised:
        loaded(beyond(place, dtype))
    said = str(raised.value)
    assert f"from {PLACES[place][1]} on" in said
    assert str(dtype).removeprefix("torch.") in said
    assert REMEDY[dtype] in said
    assert "\n" not in said


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("place", PLACES)
def test_a_weight_that_is_no_number_is_named(place, value):
    with pytest.raises(NonFiniteError) as raised:
        loaded(beyond(place, torch.float32, value))
    assert f"weights are not ({PLACES[place][0]}); its weights are damaged" in str(raised.value)


@pytest.mark.parametrize("slow", ["", "1"])
def test_what_only_a_long_prompt_overflows_ends_the_pass(slow, monkeypatch):
    monkeypatch.setenv("RHAT_SLOW", slow)
    prompt = tiny_chat_model().tokenize([LONG])[0]
    model = loaded(at_the_edge(prompt))
    with pytest.raises(
        NonFiniteError, match=r"float16 \(at most 65504\) from mlp_out\.0 on; load .* bfloat16 or float32"
    ):
        list(last_logits(model, model.plan([LONG])))


def test_the_remedy_helps():
    """The same weights in bfloat16: what overflowed is finite."""
    prompt = tiny_chat_model().tokenize([LONG])[0]
    model = loaded(at_the_edge(prompt).to(torch.bfloat16))
    [(_, logits)] = last_logits(model, model.plan([LONG]))
    assert logits.isfinite().all()


@pytest.mark.parametrize("slow", ["", "1"])
def test_every_way_of_running_prompts(poison, slow, monkeypatch):
    monkeypatch.setenv("RHAT_SLOW", slow)
    fine, bad = poison.plan([FINE]), poison.plan([FINE, BAD])
    site, unit = Site("resid_pre", 1), torch.eye(poison.d_model)[0]
    adding = [Intervention("add", unit, 1, value).edits(poison) for value in (1.0, 2.0)]
    at_end = [Intervention("add", unit, 1, 1.0, scope=rhat.model.Scope("last_prompt_token")).edits(poison)] * 2
    ways = {
        "logits": lambda plan: list(last_logits(poison, plan)),
        "edited": lambda plan: list(last_logits(poison, plan, adding[0])),
        "several conditions": lambda plan: list(last_logits_under(poison, plan, adding)),
        "last tokens": lambda plan: list(
            last_logits_under(poison, plan, at_end, cache_clean_run(poison, plan, [0, 1], keep_kv=True))
        ),
        "captured": lambda plan: list(captured(poison, plan, [site], [-1])),
        "capture": lambda plan: capture(poison, plan, [site], [-1], lambda *_: None),
        "all tokens": lambda plan: capture_all_tokens(poison, plan, site, unit),
        "answers": lambda plan: rhat.model.ChatModel.generate(poison, [FINE, BAD][: len(plan)], 3),
        "cross-entropy": lambda plan: cross_entropy(poison, plan.prompts, [(40, 41)] * len(plan)),
    }
    for name, run in ways.items():
        run(fine)
        with pytest.raises(NonFiniteError, match=r"from the embeddings \(resid_pre\.0\) on"):
            pytest.fail(f"{name}: {run(bad)}")


def test_what_the_last_block_makes_of_a_token_that_no_logit_sees():
    """resid_post of the last block at a position before the last one reaches no logit, and is checked as it is read."""
    model = tiny_chat_model()
    plan, last = model.plan([FINE]), Site("resid_post", model.n_layers - 1)

    class Spoil:
        def __call__(self, x, _context):
            spoilt = x.clone()
            spoilt[:, -2] = torch.nan
            return spoilt

        def first_position(self, _length, _start):
            return 0

    list(last_logits(model, plan, {last: Spoil()}))
    with pytest.raises(NonFiniteError):
        capture(model, plan, [last], [-2], lambda *_: None, {last: Spoil()})


def test_an_intervention_that_is_too_strong_is_told_from_a_model_that_overflows():
    model = loaded(tiny_hf(dtype=torch.float16))
    strong = Intervention("add", torch.eye(model.d_model)[0], 1, 6e4).edits(model)
    stronger = Intervention("add", torch.eye(model.d_model)[0], 1, 1e6).edits(model)
    list(last_logits(model, model.plan([FINE]), strong))
    with pytest.raises(
        NonFiniteError, match=r"under this intervention, and only then, .* from resid_pre\.1 on; take a smaller"
    ):
        list(last_logits(model, model.plan([FINE]), stronger))


def test_check_proves_nothing_of_numbers_that_are_none():
    with pytest.raises(NonFiniteError, match=r"resid_pre\.0"):
        check(loaded(poisoned(token="k")))  # "Why is the sky …" is one of its prompts, and one of the trial's


def test_a_law_that_nan_breaks_is_not_ok(monkeypatch):
    """The worst of several errors is NaN's, wherever it stands."""
    model = tiny_chat_model()
    plain = Prover.read

    def spoilt(self, kinds):
        held = plain(self, kinds)
        for site in (Site("mlp_out", 1), Site("attn_proj", 1)):
            if site in held:
                held[site][0, 0, 0] = torch.nan
        return held

    monkeypatch.setattr(Prover, "read", spoilt)
    failed = {row["check"] for row in check(model).rows() if row["outcome"] == "failed"}
    assert {"block parts add up to the residual stream", "heads add up to the attention projection"} <= failed


def test_masked_vocabulary_is_no_fault():
    """A model whose head gives padded tokens −∞ is run by the fast path, scored and compared; NaN and +∞ are faults."""
    hf = tiny_hf(dtype=torch.float64)
    plain = hf.lm_head.forward

    def masked(x):
        logits = plain(x).clone()
        logits[..., -3:] = -torch.inf
        return logits

    hf.lm_head.forward = masked
    model = loaded(hf)
    assert model.fast
    assert check(model).ok
    [(_, logits)] = last_logits(model, model.plan([FINE]))
    assert logits[:, -3:].isneginf().all()
    assert len(model.generate([FINE], 4)[0].tokens)
    edited = logits + torch.randn(logits.shape, generator=torch.Generator().manual_seed(0), dtype=logits.dtype)
    truth = torch.distributions.kl_divergence(
        *(torch.distributions.Categorical(logits=x[:, :-3]) for x in (logits, edited))
    )
    torch.testing.assert_close(kl_divergence(logits, edited), truth)
    assert refusal_score(logits, [4]).isfinite().all()


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
def test_which_rows_are_no_distribution(dtype):
    rows = torch.randn(6, 3000, dtype=torch.float64).to(dtype)
    rows[1, 2999], rows[2, 7], rows[3, :], rows[4, 1:] = torch.nan, torch.inf, -torch.inf, -torch.inf
    assert faulty(rows).tolist() == [False, True, True, True, False, False]


def test_distance_is_never_nan():
    a = torch.tensor([3.0, 4.0, -torch.inf])
    assert distance(a, a) == 0
    assert distance(a + torch.tensor([0.0, 5.0, 0.0]), a) == 1
    for bad in (torch.nan, torch.inf, -torch.inf):
        assert distance(torch.tensor([3.0, bad, -torch.inf]), a) == math.inf
        assert distance(a, torch.tensor([3.0, bad, -torch.inf])) == math.inf
    assert distance(torch.tensor([3.0, 4.0, 1.0]), a) == math.inf
