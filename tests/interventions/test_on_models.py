"""Interventions on tiny models against the formulas applied in a plain forward pass written out here."""

import pytest
import torch

from rhat.directions import Direction
from rhat.errors import DirectionError, InterventionError
from rhat.generation import generate_tokens
from rhat.interventions import Intervention, ablate, add, combine, set_projection, subtract
from rhat.model import Scope, last_logits
from rhat.scoring import refusals
from rhat.sites import Site
from tiny import tiny_chat_model

PROMPTS = ["Name a river.", "Why is the sky so very blue at noon?", "Sing.", "Tell me of the old mill by the sea."]
SCOPES = ("all", "prompt", "generated", "last_prompt_token", "template", "first_generated:2")


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("llama", n_layers=3, dtype=torch.float32)


def direction(model, layer=1, seed=3):
    u = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))
    return Direction(u / u.norm(), Site("resid_pre", layer), -1, 2.0, 3.0, 0.5, model={"name": model.name})


def by_hand(model, ids, doing, scope, prompt_length):
    """One unpadded full forward pass with the edit made by hooks of our own on the blocks' inputs and parts."""
    u = doing.unit
    positions = torch.arange(len(ids))
    k = model.template_length
    inside = {
        "all": positions >= 0,
        "prompt": positions < prompt_length,
        "generated": positions >= prompt_length,
        "last_prompt_token": positions == prompt_length - 1,
        "template": (positions >= prompt_length - k) & (positions < prompt_length),
        "first_generated:2": (positions >= prompt_length) & (positions < prompt_length + 2),
    }[scope]

    def edited(x):
        projection = (x * u).sum(-1, keepdim=True)
        new = {
            "set_projection": x - projection * u + doing.value * u,
            "add": x + doing.value * u,
            "subtract": x - doing.value * u,
            "ablate": x - projection * u,
        }[doing.op]
        return torch.where(inside[None, :, None], new, x)

    handles = []
    for index, block in enumerate(model.hf.model.layers):
        if doing.where == "all layers" or index == doing.layer:
            handles.append(block.register_forward_pre_hook(lambda m, a: (edited(a[0]), *a[1:])))
        if doing.where == "all layers":
            handles.append(block.self_attn.o_proj.register_forward_hook(lambda m, a, o: edited(o)))
            handles.append(block.mlp.register_forward_hook(lambda m, a, o: edited(o)))
    try:
        with torch.no_grad():
            return model.hf(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
    finally:
        for handle in handles:
            handle.remove()


DOINGS = {
    "set_projection": set_projection,
    "add": add,
    "subtract": subtract,
    "ablate": ablate,
}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("op", DOINGS)
def test_fast_scores_and_decoding_agree_with_plain_pytorch(model, op, scope):
    doing = DOINGS[op](direction(model), scope=scope)
    tokens = model.tokenize(PROMPTS)
    plan = model.plan(PROMPTS)
    for rows, logits in last_logits(model, plan, doing.edits(model)):
        for row, got in zip(rows.tolist(), logits, strict=True):
            truth = by_hand(model, tokens[row], doing, scope, len(tokens[row]))[-1]
            torch.testing.assert_close(got, truth, atol=1e-5, rtol=1e-5)
    said = generate_tokens(model, tokens, doing.edits(model), max_new_tokens=6, ignore_eos=True)
    for prompt, completion in zip(tokens, said, strict=True):
        sequence = (*prompt, *completion.tokens)
        logits = by_hand(model, sequence, doing, scope, len(prompt))
        predicted = logits[len(prompt) - 1 : -1]
        top = predicted.topk(2).values
        clear = (top[:, 0] - top[:, 1]) > 1e-4
        assert torch.equal(predicted.argmax(-1)[clear], torch.tensor(completion.tokens)[clear])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("use_cache", [True, False])
def test_hf_generate_sees_the_intervention_under_left_padding(model, scope, use_cache):
    doing = set_projection(direction(model), 6.0, scope=scope)
    tokens = model.tokenize(PROMPTS)
    longest = max(map(len, tokens))
    ids = torch.tensor([[model.pad_id] * (longest - len(t)) + list(t) for t in tokens])
    mask = torch.tensor([[0] * (longest - len(t)) + [1] * len(t) for t in tokens])
    with doing.on(model):
        out = model.hf.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=5,
            min_new_tokens=5,
            do_sample=False,
            use_cache=use_cache,
            pad_token_id=model.pad_id,
            eos_token_id=None,
        )[:, longest:]
    ours = generate_tokens(model, tokens, doing.edits(model), max_new_tokens=5, ignore_eos=True)
    assert [list(c.tokens) for c in ours] == out.tolist()


def test_on_restores_the_model_exactly_also_after_an_exception(model):
    ids = torch.tensor([list(model.tokenize(PROMPTS)[0])])
    with torch.no_grad():
        before = model.hf(input_ids=ids).logits
        with set_projection(direction(model), 9.0).on(model):
            assert not torch.equal(model.hf(input_ids=ids).logits, before)
        assert torch.equal(model.hf(input_ids=ids).logits, before)

        def broken():
            with ablate(direction(model)).on(model):
                raise RuntimeError("inside")

        with pytest.raises(RuntimeError, match="inside"):
            broken()
        assert torch.equal(model.hf(input_ids=ids).logits, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())
    assert "generate" not in model.hf.__dict__


def test_model_generate_inside_on_is_generate_with_edits(model):
    doing = add(direction(model), 5.0)
    with doing.on(model):
        inside = [c.tokens for c in model.generate(PROMPTS, max_new_tokens=5)]
    given = [c.tokens for c in generate_tokens(model, model.tokenize(PROMPTS), doing.edits(model), max_new_tokens=5)]
    assert inside == given
    assert inside != [c.tokens for c in model.generate(PROMPTS, max_new_tokens=5)]


def test_combined_edits_follow_one_another(model):
    d = direction(model)
    both = combine([add(d, 4.0), set_projection(d, 1.0)])
    plan = model.plan(PROMPTS)
    one = torch.cat([x for _, x in last_logits(model, plan, both.edits(model))])
    other = torch.cat([x for _, x in last_logits(model, plan, set_projection(d, 1.0).edits(model))])
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_ablating_activations_equals_orthogonalising_weights():
    """W ← (1 − r̂ r̂ᵀ) W for all that write to the residual stream (pre-norm, untied): Arditi et al. 2024, section 4.1."""
    model = tiny_chat_model("llama", n_layers=3, dtype=torch.float64)
    d = direction(model)
    plan = model.plan(PROMPTS)
    edited = torch.cat([x for _, x in last_logits(model, plan, ablate(d).edits(model))])
    u = d.unit.double() / d.unit.double().norm()
    with torch.no_grad():
        weights = [model.hf.model.embed_tokens.weight]
        for block in model.hf.model.layers:
            for linear in (block.self_attn.o_proj, block.mlp.down_proj):
                linear.weight -= torch.outer(u, u @ linear.weight)
                if linear.bias is not None:
                    linear.bias -= (linear.bias @ u) * u
        weights[0] -= torch.outer(weights[0] @ u, u)
    orthogonal = torch.cat([x for _, x in last_logits(model, plan)])
    torch.testing.assert_close(edited, orthogonal, atol=1e-6, rtol=1e-6)


def test_a_direction_of_another_model_is_refused(model):
    with pytest.raises(InterventionError, match="width 8"):
        Intervention("add", torch.nn.functional.normalize(torch.ones(8), dim=0), 1, 1.0).edits(model)
    foreign = Direction(
        direction(model).unit, Site("resid_pre", 1), -1, 1, 1, 0, model={"name": "other", "revision_or_sha256": "abc"}
    )
    with pytest.raises(DirectionError, match="found on other"):
        foreign.check_fits(model)


def test_rows_that_stop_early_do_not_disturb_the_others(model):
    """A row's answer is the same whether or not its neighbours stop: slots are compacted under it."""
    tokens = model.tokenize(PROMPTS)
    whole = generate_tokens(model, tokens, max_new_tokens=8, ignore_eos=True)
    stops = iter([True, False] * 50)
    ragged = generate_tokens(model, tokens, max_new_tokens=8, ignore_eos=True, until=lambda _t: next(stops))
    for a, b in zip(whole, ragged, strict=True):
        assert a.tokens[: len(b.tokens)] == b.tokens
    assert any(c.finish_reason == "until" for c in ragged)


def test_scores_seen_on_the_way_are_of_the_prompts(model):
    seen = {}
    tokens = model.tokenize(PROMPTS)
    refusals(
        model, tokens, max_new_tokens=3, first_logits=lambda rows, logits: seen.update(zip(rows, logits, strict=True))
    )
    for rows, logits in last_logits(model, model.plan(PROMPTS)):
        for row, truth in zip(rows.tolist(), logits, strict=True):
            torch.testing.assert_close(seen[row], truth, atol=1e-5, rtol=1e-5)


def test_scope_text_goes_round():
    assert str(Scope.parse("first_generated:4")) == "first_generated:4"
    for wrong in ("first_generated", "first_generated:0", "everything", "all:3"):
        with pytest.raises(InterventionError, match="expected one of"):
            Scope.parse(wrong)
