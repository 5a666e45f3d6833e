"""Every operator on a tiny model against its formula in plain hooks: alone, in a batch of rows edited differently, and decoding."""

import pytest
import torch
from test_operators import plain

import rhat
from rhat.directions import Direction
from rhat.errors import DirectionError, InterventionError
from rhat.generation import generate_tokens
from rhat.interventions import OPERATORS, Intervention
from rhat.model import cache_clean_run, last_logits
from rhat.model.conditions import last_logits_under
from rhat.sites import Site
from tiny import tiny_chat_model

PROMPTS = ["Name a river.", "Why is the sky so very blue at noon?", "Sing.", "Tell me of the old mill by the sea."]
N_LAYERS = 4
VALUES = {
    "ablate_partially": 0.6,
    "scale": 2.5,
    "cap_projection": -0.3,
    "raise_projection": 0.3,
    "set_angle_if_aligned": 40.0,
}


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("llama", n_layers=N_LAYERS, dtype=torch.float64)


def direction(model, layer=1, seed=3):
    u = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))
    return Direction(u / u.norm(), Site("resid_pre", layer), -1, 2.0, 3.0, 0.5, model={"name": model.name})


def doing(model, op, scope="all", **options):
    parameter = OPERATORS[op].parameter
    value = None if parameter is None else VALUES.get(op, 30.0 if parameter.unit == "degrees" else 5.0)
    return rhat.intervene(
        op, direction(model), value=value, where=options.pop("where", "own layer"), scope=scope, **options
    )


def by_hand(model, tokens, made, inside=lambda n: slice(0, n)):
    """Logits of a sequence at every position, the formula put on a block's input by a plain hook; `inside` says which tokens."""
    unit = made.unit.double()

    def edited(_module, args):
        x = args[0].clone()
        which = inside(x.shape[1])
        x[:, which] = plain(made.op, x[:, which], unit, made.value).to(x.dtype)
        return (x, *args[1:])

    handle = model.hf.model.layers[made.layer].register_forward_pre_hook(edited)
    try:
        with torch.no_grad():
            return model.hf(input_ids=torch.tensor([list(tokens)]), use_cache=False).logits[0]
    finally:
        handle.remove()


def in_order(pairs):
    rows, logits = zip(*pairs, strict=True)
    return torch.cat(logits)[torch.cat(rows).argsort()]


@pytest.mark.parametrize("op", OPERATORS)
def test_scores_on_every_path_are_those_of_plain_hooks(model, op):
    made, tokens, plan = doing(model, op), model.tokenize(PROMPTS), model.plan(PROMPTS)
    truth = torch.stack([by_hand(model, t, made)[-1] for t in tokens])
    unedited = torch.stack([model.hf(torch.tensor([t])).logits[0, -1] for t in tokens])
    assert float((truth - unedited).abs().max()) > 1e-3
    close = {"atol": 2e-6, "rtol": 2e-6}  # directions are float32
    torch.testing.assert_close(in_order(last_logits(model, plan, made.edits(model))), truth, **close)
    base = cache_clean_run(model, plan, [1])  # blocks below the edit are shared
    torch.testing.assert_close(in_order(last_logits(model, plan, made.edits(model), base)), truth, **close)
    other = doing(model, "add")
    found = {0: [], 1: []}
    for index, rows, logits in last_logits_under(model, plan, [other.edits(model), made.edits(model)], base):
        found[index].append((rows, logits))
    torch.testing.assert_close(in_order(found[1]), truth, **close)


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("scope", ["all", "generated", "last_prompt_token"])
def test_rows_of_a_batch_are_decoded_each_under_its_own_edit(model, op, scope):
    made, tokens = doing(model, op, scope), model.tokenize(PROMPTS)
    rows = [made.edits(model), None, made.edits(model), doing(model, "add").edits(model)]
    said = generate_tokens(model, tokens, edits_per_prompt=rows, max_new_tokens=5, ignore_eos=True)
    for row in (0, 2):
        n, sequence = len(tokens[row]), (*tokens[row], *said[row].tokens)
        inside = {
            "all": lambda length: slice(0, length),
            "generated": lambda length, n=n: slice(n, length),
            "last_prompt_token": lambda length, n=n: slice(n - 1, n),
        }[scope]
        top = by_hand(model, sequence, made, inside)[n - 1 : -1].topk(2)
        clear = top.values[:, 0] - top.values[:, 1] > 1e-4
        assert torch.equal(top.indices[clear, 0], torch.tensor(said[row].tokens)[clear])
        assert int(clear.sum()) >= 4
    untouched = generate_tokens(model, tokens[1:2], max_new_tokens=5, ignore_eos=True)
    assert said[1].tokens == untouched[0].tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("op", OPERATORS)
def test_in_lower_precision_it_is_the_formula_up_to_rounding(op, dtype):
    model = tiny_chat_model("llama", n_layers=2, dtype=dtype)
    made, tokens = doing(model, op), model.tokenize(PROMPTS)
    seen = rhat.activations(model, PROMPTS, "resid_pre.1")[:, 0].double()
    with made.on(model):
        got = rhat.activations(model, PROMPTS, "resid_post.1")
        inside = rhat.projections(model, PROMPTS, direction(model)).double()
    wanted = plain(op, seen, made.unit.double(), made.value) @ made.unit.double()
    rounding = {torch.float32: 1e-5, torch.bfloat16: 2.0**-8}[dtype] * float(seen.norm(dim=-1).max() + abs(made.value))
    assert bool(got.isfinite().all())
    assert float((inside - wanted).abs().max()) < rounding
    assert len(tokens) == len(PROMPTS)


def test_ablating_a_share_everywhere_is_scaling_what_the_weights_write(model):
    """W ← (1 − a r̂ r̂ᵀ) W for all that write to the residual stream, as Arditi et al. 2024, section 4.1, do with a = 1."""
    d, share = direction(model), 0.6
    edited = rhat.logits(model, PROMPTS, rhat.ablate_partially(d, value=share))
    changed = tiny_chat_model("llama", n_layers=N_LAYERS, dtype=torch.float64)
    u = d.unit.double() / d.unit.double().norm()
    with torch.no_grad():
        weights = changed.hf.model.embed_tokens.weight
        weights -= share * torch.outer(weights @ u, u)
        for block in changed.hf.model.layers:
            for linear in (block.self_attn.o_proj, block.mlp.down_proj):
                linear.weight -= share * torch.outer(u, u @ linear.weight)
                if linear.bias is not None:
                    linear.bias -= share * (linear.bias @ u) * u
    torch.testing.assert_close(edited, rhat.logits(changed, PROMPTS), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        rhat.logits(model, PROMPTS, rhat.ablate_partially(d, value=1.0)),
        rhat.logits(model, PROMPTS, rhat.ablate(d)),
        atol=1e-5,
        rtol=1e-5,
    )
    torch.testing.assert_close(
        rhat.logits(model, PROMPTS, rhat.ablate_partially(d, value=0.0)), rhat.logits(model, PROMPTS)
    )


def test_where_ablating_a_share_acts():
    layout = tiny_chat_model("llama", n_layers=3).layout
    unit = torch.nn.functional.normalize(torch.ones(48), dim=0)
    sites = Intervention("ablate_partially", unit, 1, 0.5, where="all layers").sites(layout)
    assert [str(s) for s in sites] == [
        "resid_pre.0",
        *(f"{kind}.{i}" for i in range(3) for kind in ("attn_out", "mlp_out")),
    ]
    some = Intervention("ablate_partially", unit, 1, 0.5, where=(2, 1)).sites(layout)
    assert [str(s) for s in some] == ["resid_pre.1", "attn_out.1", "mlp_out.1", "attn_out.2", "mlp_out.2"]
    assert [str(s) for s in Intervention("ablate_partially", unit, 1, 0.5).sites(layout)] == ["resid_pre.1"]


def test_a_share_cannot_be_ablated_everywhere_where_parts_cannot_be_told_apart():
    from tiny import FAMILIES

    family = next(name for name, f in FAMILIES.items() if f.sum == "unaccounted")
    model = tiny_chat_model(family)
    made = Intervention("ablate_partially", direction(model).unit, 1, 0.5, where="all layers")
    with pytest.raises(InterventionError, match=r"cannot be told apart; use where='own layer' \(--layers own\)"):
        made.edits(model)


class TestAlpha:
    def test_it_is_affine_concept_editing(self, model):
        """x − proj(x) + proj(μ⁻) + α r, with r the raw difference of means: Marshall et al. 2024, equation of ACE, in torch."""
        generator = torch.Generator().manual_seed(0)
        harmful, harmless, x = (torch.randn(9, 48, generator=generator, dtype=torch.float64) for _ in range(3))
        d = Direction.from_groups(harmful, harmless, Site("resid_pre", 1))
        r, reference = harmful.mean(0) - harmless.mean(0), harmless.mean(0)
        project = torch.outer(r, r) / (r @ r)
        for alpha in (0.0, 1.0, -0.5, 0.3):
            made = rhat.set_projection(d, alpha=alpha)
            published = x - x @ project + reference @ project + alpha * r
            torch.testing.assert_close(OPERATORS["set_projection"](x, d.unit, made.value), published, atol=1e-5, rtol=0)

    def test_it_is_each_mean_to_the_bit_and_a_share_of_the_gap_for_lengths(self, model):
        d = direction(model)
        assert (rhat.set_projection(d, alpha=0).value, rhat.set_projection(d, alpha=1).value) == d.means[::-1]
        assert rhat.cap_projection(d, alpha=1).value == rhat.raise_projection(d, alpha=1).value == d.mean_harmful
        assert rhat.cap_projection(d).value == d.mean_harmless
        for op in ("add", "subtract", "add_keeping_norm"):
            assert rhat.intervene(op, d, alpha=0.5).value == 0.5 * (d.mean_harmful - d.mean_harmless)

    @pytest.mark.parametrize("op", OPERATORS)
    def test_operators_that_are_not_read_by_the_means_reject_it(self, model, op):
        parameter = OPERATORS[op].parameter
        if parameter is not None and parameter.by_means:
            with pytest.raises(InterventionError, match="expected one of them"):
                rhat.intervene(op, direction(model), alpha=1, value=2.0)
            return
        with pytest.raises(InterventionError, match="leave α out") as caught:
            rhat.intervene(op, direction(model), alpha=1)
        assert "\n" not in str(caught.value)

    def test_without_means_it_says_what_to_do(self, model):
        unknown = Direction.of(direction(model).unit, site="resid_pre.1")
        with pytest.raises(DirectionError, match=r"mean projection of .* prompts is unknown; measure it") as caught:
            rhat.set_projection(unknown, alpha=0.5)
        assert "\n" not in str(caught.value)
        half = Direction.of(direction(model).unit, site="resid_pre.1", mean_harmful=2.0)
        with pytest.raises(DirectionError, match="mean projection of harmless prompts is unknown"):
            rhat.add(half, alpha=0.5)
