"""What writes to the residual stream, how much of it lies along a direction, and when that direction counts as removed."""

import copy

import pytest
import torch

import rhat
from labs import contrast_set
from refusing import refusing_hf
from rhat.diff import lengths
from rhat.diff.seen import misfit
from rhat.diff.weights import false_rate, is_removed
from rhat.directions import Direction
from rhat.errors import DirectionError
from rhat.sites import Site
from tiny import FAMILIES, tiny_chat_model, tiny_tokenizer

WRITES = (
    "embed_tokens.weight",
    "o_proj.weight",
    "down_proj.weight",
)  # of a Llama, as anyone who edits its weights names them


def unit(d, seed):
    r = torch.randn(d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return r / r.norm()


def project_out(hf, r, share=1.0):
    """A Llama with r projected out of what writes to the residual stream, in memory."""
    edited = copy.deepcopy(hf)
    with torch.no_grad():
        for name, w in edited.named_parameters():
            if name.endswith("embed_tokens.weight"):
                w -= share * ((w.double() @ r)[:, None] * r).to(w.dtype)
            elif name.endswith(WRITES):
                w -= share * torch.outer(r, r @ w.double()).to(w.dtype)
    return edited


def chat(hf):
    return rhat.load((hf, tiny_tokenizer()))


def counts(model, r, **more):
    """How many matrices there are, and how many are low along r."""
    found, unread = lengths(model, r[None].float(), **more)
    assert not unread
    return len(found), sum(one.low[0] for one in found)


def removed(model, r, **more):
    matrices, low = counts(model, r, **more)
    return is_removed(low, matrices)


@pytest.fixture(scope="module")
def taught():
    return refusing_hf()


@pytest.fixture(scope="module")
def r(taught):
    """The difference of means at the last token of layer 3, by plain transformers."""
    return difference_of_means(taught)


def difference_of_means(hf, layer=3):
    tokenizer = tiny_tokenizer()
    means = {}
    for label in ("harmful", "harmless"):
        states = []
        for p in contrast_set().select(label, "train"):
            messages = [{"role": "user", "content": p.text}]
            ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
            with torch.no_grad():
                states.append(hf(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0, -1].double())
        means[label] = torch.stack(states).mean(0)
    gap = means["harmful"] - means["harmless"]
    return gap / gap.norm()


def test_lengths_are_those_of_the_matrices_that_a_llama_writes_with(taught):
    r = unit(48, 1)
    found, unread = lengths(chat(taught), r[None].float())
    parameters = dict(taught.named_parameters())
    expected = {}
    for name, w in parameters.items():
        if name.endswith(WRITES):
            w = w.detach().double()
            expected[name.removesuffix(".weight")] = float((w @ r if "embed" in name else r @ w).norm())
    assert {one.name: float(one.length[0]) for one in found} == pytest.approx(expected, rel=1e-5)
    assert not unread
    assert [(one.writes, one.layer) for one in found[:3]] == [("embedding", None), ("attention", 0), ("mlp", 0)]
    assert len(found) == 1 + 2 * 5


def test_random_directions_are_the_same_in_every_matrix_and_their_mean_square_is_frobenius(taught):
    found, _ = lengths(chat(taught), unit(48, 1)[None].float(), randoms=4000)
    again, _ = lengths(chat(taught), unit(48, 2)[None].float(), randoms=4000)
    for one, other in zip(found, again, strict=True):
        torch.testing.assert_close(one.randoms, other.randoms)
        w = dict(taught.named_parameters())[one.name + ".weight"]
        assert float(one.randoms.square().mean()) == pytest.approx(float(w.square().sum()) / 48, rel=0.05)


@pytest.mark.parametrize("family", [name for name, row in FAMILIES.items() if not row.refused])
def test_every_familys_writers_are_found_and_without_them_nothing_writes_the_direction(family):
    """Project r out of every matrix that is named, then see by hooks that no part writes r: but for biases, gains and what is said."""
    model = tiny_chat_model(family)
    r = unit(model.d_model, 3)
    found, unread = lengths(model, r[None].float(), randoms=200)
    allowed = ("embedding",) if family == "opt-post-norm" else ()
    assert [why for why in unread if not any(word in why for word in allowed)] == []
    modules = dict(model.hf.named_modules())
    parameters = dict(model.hf.named_parameters())
    for one in found:
        name = one.name if one.name in parameters else one.name + ".weight"
        w = parameters[name]
        with torch.no_grad():
            side = [i for i, size in enumerate(w.shape) if size == model.d_model]
            assert side, one.name
            fused = w.ndim == 3
            if (
                one.writes == "embedding"
                or type(modules.get(one.name)).__name__ == "Conv1D"
                or (fused and side[-1] == 2)
            ):
                w -= (w @ r)[..., None] * r
            else:
                w -= r[..., :, None] * (r @ w).unsqueeze(-2)
    after, _ = lengths(model, r[None].float(), randoms=200)
    assert all(one.low[0] for one in after)
    assert max(one.ratios[0] for one in after) < 1e-5
    assert not any(one.low[0] for one in found)
    by_kind = {kind: [one.layer for one in found if one.writes == kind] for kind in ("attention", "mlp", "other")}
    assert set(by_kind["mlp"]) | {layer for layer, p in enumerate(model.layout.parts) if p.mlp_out is None} >= {0, 1, 2}
    assert set(by_kind["attention"]) == {0, 1, 2}


def test_what_is_removed_from_the_weights_is_named_and_no_random_removal_is(taught, r):
    assert not removed(chat(taught), r)
    assert counts(chat(project_out(taught, r)), r) == (11, 11)
    for seed in range(20):
        u = unit(48, 100 + seed)
        edited = chat(project_out(taught, u))
        assert not removed(edited, r, seed=seed)
        assert removed(edited, u, seed=seed), "the rule would have named it"


def test_r_of_untouched_models_is_not_named():
    for seed in range(1, 4):
        hf = refusing_hf(steps=45, seed=seed)
        for layer in (1, 2, 3, 4):
            assert not removed(chat(hf), difference_of_means(hf, layer))
    for seed in range(20):
        assert not removed(tiny_chat_model("qwen2", dtype=torch.float32, seed=seed), unit(48, seed))


def test_directions_that_have_nothing_to_do_with_the_weights_are_named_no_more_often_than_stated(taught):
    """5,000 at once, of a model with a matrix of rank 3 in every block, where short directions are common."""
    hf = copy.deepcopy(taught)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, w in hf.named_parameters():
            if name.endswith(WRITES):
                u, s, v = torch.linalg.svd(w, full_matrices=False)
                s[3:] = 0
                w.copy_(u * s @ v)
    rows = torch.randn(5000, 48, generator=generator)
    found, _ = lengths(chat(hf), rows / rows.norm(dim=1, keepdim=True))
    low = torch.tensor([one.low for one in found]).sum(0)
    named = sum(is_removed(int(count), len(found)) for count in low)
    assert 0 < int((low > 0).sum()) <= 5000 * len(found) / 401
    assert named / 5000 <= false_rate(400)
    assert false_rate(400) == pytest.approx(0.00998, abs=1e-5)


def test_bfloat16_and_half_of_a_removal(taught, r):
    """Rounding after a removal leaves it visible; half of r is not a removal."""
    assert counts(chat(project_out(taught, r).to(torch.bfloat16)), r) == (11, 11)
    assert counts(chat(project_out(taught, r, 0.4)), r)[1] == 0


def test_packed_weights_are_read_through_their_module(taught, r):
    """int8 by torchao: what the module makes of unit vectors is what its numbers, unpacked, give."""
    torchao = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    hf = project_out(taught, r)
    torchao.quantize_(hf, torchao.Int8WeightOnlyConfig())
    found, unread = lengths(chat(hf), r[None].float())
    assert not unread
    assert len(found) == 11
    modules = dict(hf.named_modules())
    packed = [one for one in found if one.writes != "embedding"]
    assert type(modules[packed[0].name].weight) is not torch.nn.Parameter
    for one in packed:
        w = modules[one.name].weight.dequantize().double()
        assert float(one.length[0]) == pytest.approx(float((r @ w).norm()), rel=1e-3)
        assert one.low == [True]
    untouched = copy.deepcopy(taught)
    torchao.quantize_(untouched, torchao.Int8WeightOnlyConfig())
    assert not removed(chat(untouched), r)


def test_a_direction_of_another_width_is_rejected(taught):
    with pytest.raises(DirectionError, match=r"width 12: .* has 48"):
        lengths(chat(taught), torch.ones(1, 12) / 12**0.5)


def test_a_direction_at_the_instructions_last_token_fits():
    model = tiny_chat_model("llama")
    first = -model.template_length - 1
    r, site = unit(48, 0).float(), Site("resid_pre", 1)
    at = {position: Direction(r, site, position, 1.0, 1.0, 0.0) for position in (first, first - 1)}
    assert misfit(at[first], model) == ""
    assert misfit(at[first - 1], model).startswith(f"it was read at position {first - 1}")
