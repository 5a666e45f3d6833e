"""Attention that rhat's masks do not suit is never run with them: it is stood in for, or the model is rejected."""

import copy

import pytest
import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import rhat
from rhat.errors import ModelError
from rhat.generation import generate_tokens
from rhat.model import last_logits
from rhat.model.attention import configs_of
from rhat.model.check import check
from rhat.model.plain import plain_forward
from rhat.scoring.drift import cross_entropy
from tiny import tiny_hf, tiny_tokenizer

PROMPTS = ("Name a river.", "Why is the sky so blue at noon, and why not at night?")
OTHERS = (
    "flex_attention",
    "flash_attention_2",
    "flash_attention_3",
    "paged|sdpa",
    "paged|eager",
    "paged|flash_attention_2",
)


def never(*_args, **_kwargs):
    raise AssertionError("attention that was to be stood in for was run")


def named(family, name, monkeypatch):
    """A model whose text part is set to attention of that name, which must not run, and one like it with sdpa."""
    hf = tiny_hf(family)
    like = copy.deepcopy(hf)
    for config in configs_of(hf):
        config._attn_implementation_internal = name
    if name in AttentionInterface._global_mapping:
        monkeypatch.setitem(AttentionInterface._global_mapping, name, never)
    return hf, like


def all_ways(model, ids):
    """Logits of prompts by the fast path and by the plain one, and answers."""
    found = {}
    for rows, logits in last_logits(model, model.lay_out(ids)):
        found.update(zip(rows.tolist(), logits, strict=True))
    fast = torch.stack([found[i] for i in range(len(ids))])
    plain = plain_forward(model, ids, torch.arange(len(ids)))
    cross_entropy(model, ids, [(5, 6)] * len(ids))
    return fast, plain, [one.tokens for one in generate_tokens(model, ids, max_new_tokens=3)]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("family", ["llama", "gemma3-multimodal"])
def test_other_attention_is_stood_in_for(family, name, monkeypatch):
    hf, like = named(family, name, monkeypatch)
    model = rhat.load((hf, tiny_tokenizer()))
    ids = model.tokenize(PROMPTS)
    fast, plain, _ = all_ways(model, ids)
    with torch.no_grad():
        want = torch.cat([like(input_ids=torch.tensor([one])).logits[:, -1] for one in ids])
    assert float((fast - want).norm() / want.norm()) < 1e-9
    assert float((plain - want).norm() / want.norm()) < 1e-9
    assert {config._attn_implementation for config in configs_of(hf)} == {name}


def test_it_is_given_back_when_a_pass_fails(monkeypatch):
    hf, _ = named("llama", "flex_attention", monkeypatch)
    model = rhat.load((hf, tiny_tokenizer()))
    assert model.fast
    monkeypatch.setattr(model.layout.base, "forward", never)
    with pytest.raises(AssertionError):
        plain_forward(model, model.tokenize(PROMPTS), torch.arange(2))
    assert hf.config._attn_implementation == "flex_attention"


def test_each_part_gets_its_own_back(monkeypatch):
    hf, _ = named("gemma3-multimodal", "flex_attention", monkeypatch)
    hf.config.vision_config._attn_implementation_internal = "eager"
    before = [config._attn_implementation for config in configs_of(hf)]
    assert len(set(before)) == 2
    model = rhat.load((hf, tiny_tokenizer()))
    all_ways(model, model.tokenize(PROMPTS))
    assert [config._attn_implementation for config in configs_of(hf)] == before


def test_what_is_set_after_loading_is_stood_in_for_too(monkeypatch):
    hf = tiny_hf("llama")
    model = rhat.load((hf, tiny_tokenizer()))
    ids = model.tokenize(PROMPTS)
    before = all_ways(model, ids)
    hf.set_attn_implementation("flex_attention")
    monkeypatch.setitem(AttentionInterface._global_mapping, "flex_attention", never)
    assert torch.equal(all_ways(model, ids)[0], before[0])
    hf.set_attn_implementation("eager")  # which is tried for itself
    assert float((all_ways(model, ids)[0] - before[0]).norm() / before[0].norm()) < 1e-9
    assert set(model._tried) == {"sdpa", "eager"}


def registered(monkeypatch, function):
    name = "of_ones_own"
    monkeypatch.setitem(AttentionInterface._global_mapping, name, function)
    hf = tiny_hf("llama")
    for config in configs_of(hf):
        config._attn_implementation_internal = name
    return hf


def test_attention_of_ones_own_that_computes_the_same_is_stood_in_for(monkeypatch):
    masks = []

    def same(module, query, key, value, attention_mask, **more):
        masks.append(attention_mask)
        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)

    hf = registered(monkeypatch, same)
    model = rhat.load((hf, tiny_tokenizer()))
    assert masks  # compared once, with the model's own mask
    masks.clear()
    all_ways(model, model.tokenize(PROMPTS))
    assert not masks


def test_attention_of_ones_own_that_computes_another_thing_is_rejected(monkeypatch):
    def doubled(module, query, key, value, attention_mask, **more):
        return sdpa_attention_forward(module, query, key, 2 * value, attention_mask, **more)

    with pytest.raises(ModelError, match=r"of_ones_own is not one that takes rhat's masks, and sdpa .* other logits"):
        rhat.load((registered(monkeypatch, doubled), tiny_tokenizer()))


def test_attention_that_fails_is_named(monkeypatch):
    def broken(*_args, **_kwargs):
        raise RuntimeError("no such device")

    with pytest.raises(ModelError, match=r"attention of_ones_own failed \(no such device\); load it with"):
        rhat.load((registered(monkeypatch, broken), tiny_tokenizer()))


def test_a_model_that_keeps_its_attention_is_rejected(monkeypatch):
    hf, _ = named("llama", "flex_attention", monkeypatch)
    monkeypatch.setattr(type(hf), "_can_set_attn_implementation", classmethod(lambda cls: False))
    with pytest.raises(ModelError, match="got attention flex_attention, expected sdpa or eager"):
        rhat.load((hf, tiny_tokenizer()))


def test_check_runs_none_of_it(monkeypatch):
    hf, _ = named("llama", "flex_attention", monkeypatch)
    assert check(rhat.load((hf, tiny_tokenizer()))).ok
    assert hf.config._attn_implementation == "flex_attention"


def test_a_model_without_sdpa_gets_eager(monkeypatch):
    hf, like = named("gpt-oss", "flex_attention", monkeypatch)
    model = rhat.load((hf, tiny_tokenizer()))
    seen = []
    with model.running(None):
        seen.append(model.text_config._attn_implementation)
    assert seen == [like.config._attn_implementation if like.config._attn_implementation == "sdpa" else "eager"]
