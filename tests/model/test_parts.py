"""Blocks that are more than attention + MLP: what they add to the stream is found, and ablation leaves none of r̂ in it.

Which modules add to the stream, and times what, is written here as read from each family's forward; it is held against the
block's input and output by hooks on plain transformers, and what rhat found is held against it.
"""

import logging
import math
from dataclasses import replace
from functools import cache

import pytest
import torch
import transformers
from torch import nn

import rhat
from rhat.directions import Direction
from rhat.errors import ModelError, RhatError
from rhat.interventions import Intervention
from rhat.model.check import check
from rhat.model.discovery import discover
from rhat.sites import Site
from shrunk import shrunk_hf
from tiny import VOCAB, tiny_tokenizer

USUAL = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 24, "mamba_d_state": 8, "mamba_n_groups": 1}
SLIDING = {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention", "full_attention"]}
CONFIGS = {
    "falcon-h1": lambda: transformers.FalconH1Config(
        **USUAL, **{**MAMBA, "mamba_d_head": 16}, mamba_d_ssm=64, attention_out_multiplier=0.5, ssm_out_multiplier=0.7
    ),
    "gemma4-per-layer": lambda: transformers.Gemma4TextConfig(
        **USUAL, **SLIDING, head_dim=16, hidden_size_per_layer_input=8, vocab_size_per_layer_input=VOCAB
    ),
    "granite4-h": lambda: transformers.GraniteMoeHybridConfig(
        **USUAL,
        **MAMBA,
        layer_types=["mamba", "attention", "mamba"],
        shared_intermediate_size=32,
        num_local_experts=4,
        num_experts_per_tok=2,
        residual_multiplier=0.3,
    ),
    "nemotron-h": lambda: transformers.NemotronHConfig(
        **USUAL,
        layers_block_type=["mamba", "attention", "mlp"],
        mamba_num_heads=4,
        mamba_head_dim=16,
        ssm_state_size=8,
        n_groups=1,
        head_dim=12,
    ),
}
H1 = {"self_attn": ("attn_out", 0.5), "feed_forward": ("mlp_out", 1), "mamba": ("other_out", 0.7)}
SHARED = {"self_attn": ("attn_out", 1), "block_sparse_moe": ("mlp_out", 1), "shared_mlp": ("other_out", 1)}
GRANITE = {"block_sparse_moe": ("mlp_out", 0.3), "shared_mlp": ("other_out", 0.3)}
MEMORY = {
    "post_attention_layernorm": ("attn_out", 1),
    "post_feedforward_layernorm": ("mlp_out", 1),
    "post_per_layer_input_norm": ("other_out", 1),
}
SERIAL = {"self_attn": ("attn_out", 1), "mlp": ("mlp_out", 1)}
ADDS = {  # family → block by block: module → (kind of site, multiple). None: not a sum of parts that can be named
    "falcon-h1": [H1] * 3,
    "gemma4-per-layer": [MEMORY] * 3,
    "granite4-h": [
        {"mamba": ("attn_out", 0.3), **GRANITE},
        {"self_attn": ("attn_out", 0.3), **GRANITE},
        {"mamba": ("attn_out", 0.3), **GRANITE},
    ],
    "nemotron-h": [{"mixer": ("attn_out", 1)}, {"mixer": ("attn_out", 1)}, {"mixer": ("mlp_out", 1)}],
    "granitemoeshared": [SHARED] * 2,
    "granitemoe_swa": [SHARED] * 2,
    "zamba2": None,
    "inkling_text": [{"attn_sconv": ("attn_out", 1), "mlp_sconv": ("mlp_out", 1)}] * 2,
    "qwen3_next": [{"linear_attn": ("attn_out", 1), "mlp": ("mlp_out", 1)}, SERIAL],
    "hyperclovax": [{"post_norm1": ("attn_out", 1), "post_norm2": ("mlp_out", 1)}] * 2,
    "minimax": None,
    "doge": None,
    "openai-gpt": None,
}


@cache
def loaded(name):
    if name not in CONFIGS:
        return rhat.load((shrunk_hf(name), tiny_tokenizer()))
    torch.manual_seed(0)
    hf = transformers.AutoModelForCausalLM.from_config(CONFIGS[name](), experts_implementation="eager").float().eval()
    with torch.no_grad():
        for parameter in hf.parameters():
            noise = torch.randn(parameter.shape)
            parameter.copy_(noise * parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else parameter + 0.2 * noise)
    return rhat.load((hf, tiny_tokenizer()))


def given(args, kwargs):
    return args[0] if args else kwargs["hidden_states"]


def first(output):
    return output[0] if isinstance(output, (tuple, list)) else output


def plainly(model, hooked, ids=None):
    """What modules take and give in one pass of transformers: module → (input, output), by hooks of this test."""
    seen = {}

    def hook(module, args, kwargs, output):
        seen[module] = given(args, kwargs).clone(), first(output).clone()

    handles = [m.register_forward_hook(hook, with_kwargs=True) for m in hooked]
    with torch.no_grad():
        seen["logits"] = model.hf(input_ids=torch.arange(40, 52)[None] if ids is None else ids, use_cache=False).logits
    for handle in handles:
        handle.remove()
    return seen


def direction(model):
    unit = torch.nn.functional.normalize(torch.randn(model.d_model, generator=torch.Generator().manual_seed(3)), dim=0)
    return Direction(unit, Site("resid_pre", 1), -1, 1.0, 1.0, 0.0, model=model.describe())


@pytest.mark.parametrize("name", [n for n, adds in ADDS.items() if adds])
def test_what_a_block_adds_is_found(name):
    model = loaded(name)
    for parts, adds in zip(model.layout.parts, ADDS[name], strict=True):
        seen = plainly(model, [parts.block, *(parts.block.get_submodule(n) for n in adds)])
        before, after = seen[parts.block]
        written = sum(times * seen[parts.block.get_submodule(n)][1].view_as(before) for n, (_, times) in adds.items())
        assert float((before + written - after).norm() / after.norm()) < 1e-5, "the test misreads the block"
        found = {
            kind: (parts.module(kind), parts.scale(kind))
            for kind in ("attn_out", "mlp_out", "other_out")
            if parts.module(kind) is not None
        }
        assert set(found) == {kind for kind, _ in adds.values()}
        for n, (kind, times) in adds.items():
            module, scale = found[kind]
            assert torch.equal(plainly(model, [module])[module][1], seen[parts.block.get_submodule(n)][1])
            assert scale == pytest.approx(times, rel=1e-5)
        assert parts.sum == "pre-norm"
        assert parts.carry == pytest.approx(1)


def test_a_scaled_stream_is_found():
    """BEAM's blocks scale the stream before they add; Gemma 4's scale the sum."""
    model = loaded("beam")
    for parts in model.layout.parts:
        a, m = parts.block.post_attention_layernorm, parts.block.post_feedforward_layernorm
        seen = plainly(model, [parts.block, a, m])
        before, after = seen[parts.block]
        total = parts.carry * before + parts.scale("attn_out") * seen[a][1] + parts.scale("mlp_out") * seen[m][1]
        assert parts.carry < 0.9
        assert float((total - after).norm() / after.norm()) < 1e-5
        assert (parts.attn_out, parts.mlp_out, parts.other_out) == (a, m, None)


@pytest.mark.parametrize("name", ADDS)
def test_ablation_leaves_nothing_in_what_any_block_takes_or_gives(name):
    model = loaded(name)
    r = direction(model)
    blocks = [parts.block for parts in model.layout.parts]
    plain = plainly(model, blocks)
    with rhat.ablate(r).on(model):
        seen = plainly(model, blocks)
    for block in blocks:
        for x in seen[block]:
            assert float((x @ r.unit).norm() / x.norm()) < 1e-6
    assert max(float((x @ r.unit).norm() / x.norm()) for block in blocks for x in plain[block]) > 0.05
    assert not torch.allclose(seen["logits"], plain["logits"], rtol=1e-3)
    assert torch.equal(plainly(model, [])["logits"], plain["logits"])


def test_without_one_of_its_parts_ablation_leaves_some():
    """What the test above would see if a third part were overlooked."""
    model = loaded("falcon-h1")
    parts = tuple(replace(p, other_out=None) for p in model.layout.parts)
    broken = replace(model, layout=replace(model.layout, parts=parts))
    r, block = direction(model), parts[-1].block
    with rhat.ablate(r).on(broken):
        left = plainly(model, [block])[block][1] @ r.unit
    assert float(left.norm()) > 0.01
    failed = {row["check"] for row in check(broken).rows() if row["outcome"] == "failed"}
    assert {"ablation leaves nothing in what blocks give", "block parts add up to the residual stream"} <= failed


@pytest.mark.parametrize("name", [n for n, adds in ADDS.items() if not adds])
def test_where_parts_cannot_be_named_ablation_says_so(name, caplog):
    model = loaded(name)
    blind = [i for i, parts in enumerate(model.layout.parts) if parts.sum == "unaccounted"]
    ablation = Intervention("ablate", direction(model).unit.float(), 1, where="all layers")
    said = ablation.describe(model.layout)["sites"]
    if name == "openai-gpt":  # a norm after each addition
        assert {parts.sum for parts in model.layout.parts} == {"post-norm"}
        assert "norms after the additions may bring r̂ back inside the block" in said
    elif blind:
        assert "only at the block's input and output, so that r̂ may be written again inside it" in said
        assert [s for s in ablation.sites(model.layout) if s.layer == blind[0]] == [
            Site("resid_pre", blind[0]),
            Site("resid_post", blind[0]),
        ]
        assert ("block parts add up to the residual stream", "absent") in {
            (row["check"], row["outcome"]) for row in check(model).rows()
        }
    measured = next(row["measured"] for row in check(model).rows() if row["check"].startswith("ablation leaves"))
    assert said in measured
    caplog.clear()  # where this test is the first to load the model, that was told too
    with caplog.at_level(logging.WARNING, logger="rhat"):
        rhat.load((model.hf, tiny_tokenizer()))
    if said != "all layers":
        assert said in caplog.text
    assert len(caplog.records) == (1 if model.layout.limits else 0)


def test_where_all_is_known_nothing_is_said(caplog):
    with caplog.at_level(logging.WARNING, logger="rhat"):
        model = rhat.load((shrunk_hf("llama"), tiny_tokenizer()))
    assert caplog.records == []
    assert Intervention("ablate", direction(model).unit, 1, where="all layers").describe(model.layout)["sites"] == (
        "all layers"
    )


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("deepseek_v4", r"block 0: takes hidden states of shape \(2, 4, 4, 32\) .* one residual stream"),
        ("gemma3n_text", r"hidden states of shape .* one residual stream"),
        ("xlnet", r"block 0: takes hidden states of shape \(4, 2, 32\)"),
        ("xlm", "a token changes what is computed for those before it"),
    ],
)
def test_what_is_no_causal_stream_is_rejected_in_one_line(kind, says):
    with pytest.raises(RhatError, match=says) as caught:
        rhat.load((shrunk_hf(kind), tiny_tokenizer()))
    assert "\n" not in str(caught.value)


def test_blocks_that_run_more_than_once_are_rejected():
    hf = shrunk_hf("llama")
    hf.model.layers = nn.ModuleList([hf.model.layers[0]] * 2)
    with pytest.raises(ModelError, match="called 2 times"):
        discover(hf)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_finds_the_same_parts(dtype):
    for name in ("falcon-h1", "granite4-h", "gemma4-per-layer"):
        hf = loaded(name).hf
        found = discover(hf.to(dtype))
        hf.float()
        for parts, truth in zip(found.parts, loaded(name).layout.parts, strict=True):
            assert parts.names == truth.names
            assert all(math.isclose(a, b, rel_tol=0.01) for a, b in zip(parts.scales, truth.scales, strict=True))
