"""Conformance: every family, every site, every operator in every scope, every path, as a tiny random model.

A family is one row of `tiny.FAMILIES`; what this suite proves about it is what docs/families.md says.
"""

from contextlib import ExitStack

import pytest
import torch

import rhat
from rhat.errors import ModelError, SiteError
from rhat.generation import generate_tokens
from rhat.interventions import OPERATORS, Intervention
from rhat.model import Read, cache_clean_run, last_logits, tap
from rhat.model.dispatch import in_shares
from rhat.model.plain import plain_forward, plain_last_logits
from rhat.model.positions import Scope
from rhat.sites import KINDS, Site
from tiny import FAMILIES, tiny_chat_model, tiny_hf, tiny_tokenizer

N_LAYERS = 3
SCOPES = ("all", "prompt", "generated", "last_prompt_token", "template", "first_generated:2")
PROMPTS = ("Why is the river so wide today, and where does it end?", "Go", "Tell me the time")
N_PROMPTS = len(PROMPTS)

SUPPORTED = [name for name, family in FAMILIES.items() if not family.refused]
FAST = [name for name in SUPPORTED if FAMILIES[name].mask]


@pytest.fixture(scope="module", params=SUPPORTED)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family):
    return tiny_chat_model(family, N_LAYERS)


@pytest.fixture(scope="module")
def tolerance(family):
    return FAMILIES[family].tolerance


@pytest.fixture(scope="module")
def plan(model):
    """Two batches behind a shared prefix, one of them of prompts of unequal length."""
    found = model.plan(PROMPTS, max_rows=2)
    assert found.prefix_length > 8
    assert [len(batch.rows) for batch in found.batches] == [1, 2]
    return found


@pytest.fixture(scope="module")
def unit(model):
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(1))
    return vector / vector.norm()


def there(family):
    """Every site that the family has."""
    lacks = FAMILIES[family].lacks
    kinds = [k for k in KINDS if k != "other_out" or FAMILIES[family].third]
    return [Site(k, i) for k in kinds for i in range(N_LAYERS) if i not in lacks.get(k, ())]


def logits(model, ids=None):
    """Logits of every position of two equally long rows, by transformers alone."""
    ids = torch.arange(40, 64).reshape(2, 12) if ids is None else ids
    with torch.no_grad():
        return model.hf(input_ids=ids, use_cache=False).logits


def activations(model, sites):
    """Activations at sites in a plain forward pass."""
    held = {}
    with tap(model, {s: Read(lambda x, _c, s=s: held.__setitem__(s, x.clone())) for s in sites}):
        logits(model)
    return held


def relative(got, truth):
    return float((got - truth).norm() / truth.norm())


def in_order(batches, n=N_PROMPTS):
    rows = {}
    for which, values in batches:
        rows.update(zip(which.tolist(), values, strict=True))
    return torch.stack([rows[i] for i in range(n)])


def hooks_of(model):
    return [
        (name, len(m._forward_hooks), len(m._forward_pre_hooks), "forward" in m.__dict__, "generate" in m.__dict__)
        for name, m in model.hf.named_modules()
    ]


class TestSites:
    def test_every_site_reads_its_shape_and_reading_changes_nothing(self, model, family):
        plain, before = logits(model), hooks_of(model)
        held = {}
        with tap(model, {s: Read(lambda x, _c, s=s: held.__setitem__(s, x.shape)) for s in there(family)}):
            read = logits(model)
        assert torch.equal(read, plain)
        assert hooks_of(model) == before
        config = model.hf.config.get_text_config()
        width = config.num_attention_heads * (
            getattr(config, "v_head_dim", None)
            or getattr(config, "head_dim", None)
            or config.hidden_size // config.num_attention_heads
        )
        expected = {s: (2, 12, width if s.kind == "head_out" else config.hidden_size) for s in there(family)}
        assert held == expected

    def test_what_it_lacks_is_refused_by_name(self, model, family):
        for kind, layers in FAMILIES[family].lacks.items():
            site = Site(kind, layers[0])
            with (
                pytest.raises(SiteError, match=f"{site}: this model's block {layers[0]} has no such part"),
                tap(model, {site: Read(lambda x, c: None)}),
            ):
                pass

    def test_an_edit_at_each_site_moves_the_logits_and_leaving_restores_them(self, model, family):
        plain, before = logits(model), hooks_of(model)
        generator = torch.Generator().manual_seed(2)

        class Shift:
            def __call__(self, x, _context):
                return x + torch.randn(x.shape[-1], generator=generator, dtype=x.dtype)

            def first_position(self, prompt_length, template_start):
                return 0

        for site in there(family):
            with tap(model, {site: Shift()}):
                assert relative(logits(model), plain) > 1e-3, site
            assert torch.equal(logits(model), plain), site
        assert hooks_of(model) == before

    def test_an_exception_inside_restores_too(self, model, family):
        plain, before = logits(model), hooks_of(model)

        class Stumble:
            def __call__(self, x, _context):
                raise RuntimeError("stumbled")

            def first_position(self, prompt_length, template_start):
                return 0

        for kind in {site.kind for site in there(family)}:
            site = next(s for s in there(family) if s.kind == kind)
            with pytest.raises(RuntimeError, match="stumbled"), tap(model, {site: Stumble()}):
                logits(model)
            assert hooks_of(model) == before
        assert torch.equal(logits(model), plain)

    def test_a_blocks_output_is_the_next_ones_input(self, model):
        held = activations(model, [Site(k, i) for k in ("resid_pre", "resid_post") for i in range(N_LAYERS)])
        for i in range(N_LAYERS - 1):
            assert torch.equal(held[Site("resid_post", i)], held[Site("resid_pre", i + 1)])

    def test_the_parts_add_up_to_the_residual_stream(self, model, family):
        assert {parts.sum for parts in model.layout.parts} == {FAMILIES[family].sum}
        if FAMILIES[family].sum == "unaccounted":
            return
        held = activations(model, [s for s in there(family) if s.kind not in ("head_out", "attn_proj")])
        for i in range(N_LAYERS):
            x, attn, mlp, y = (held[Site(k, i)] for k in ("resid_pre", "attn_out", "mlp_out", "resid_post"))
            if FAMILIES[family].sum == "pre-norm":
                total = x + attn + mlp + held.get(Site("other_out", i), 0)
            else:
                block = model.layout.parts[i].block
                total = block.final_layer_norm(block.self_attn_layer_norm(x + attn) + mlp)
            assert relative(total, y) < 1e-12
            assert attn.norm() > 0.01 * x.norm()  # neither part is something small by chance
            assert mlp.norm() > 0.01 * x.norm()

    def test_heads_add_up_to_the_attention_projection(self, model, family):
        held = activations(model, [s for s in there(family) if s.kind in ("head_out", "attn_proj")])
        n_heads = model.hf.config.get_text_config().num_attention_heads
        for site in [s for s in held if s.kind == "head_out"]:
            project = model.layout.parts[site.layer].attn_proj
            weight = project.weight.T if type(project).__name__ == "Conv1D" else project.weight
            heads = held[site].unflatten(-1, (n_heads, -1))
            written = torch.einsum("bshd,ohd->bsho", heads, weight.unflatten(-1, (n_heads, -1)))
            truth = held[Site("attn_proj", site.layer)]
            truth = truth if project.bias is None else truth - project.bias
            assert relative(written.sum(2), truth) < 1e-12
            assert relative(written[:, :, 0], truth) > 0.01


class TestFastPath:
    def test_is_taken_as_the_table_says(self, model, family):
        assert model.fast_path.mask == FAMILIES[family].mask, model.fast_path.reason
        assert model.supports_padding == FAMILIES[family].pads

    def test_equals_the_plain_path_for_every_operator_in_every_scope(self, model, plan, unit, tolerance):
        every = conditions(model, unit)
        plain = dict(zip(every, plainly(model, plan, list(every.values())), strict=True))
        unedited = in_order(plain_last_logits(model, plan))
        for (op, scope), edit in every.items():
            fast = in_order(last_logits(model, plan, edit.edits(model)))
            assert relative(fast, plain[op, scope]) < tolerance, (op, scope)
            acts = scope not in ("generated", "first_generated:2")
            moved = (
                relative(fast, unedited) > 1e-4
            )  # where it acts: no family need have a last token that leans towards r̂
            assert moved == acts or (acts and op == "set_angle_if_aligned"), (op, scope)

    @pytest.mark.parametrize("scope", ["all", "last_prompt_token"])
    @pytest.mark.parametrize("layer", [1, 2])
    def test_resuming_equals_not_resuming(self, model, family, plan, unit, tolerance, layer, scope):
        base = cache_clean_run(model, plan, [1, 2])
        edits = Intervention("add", unit, layer, 5.0, scope=Scope.parse(scope)).edits(model)
        whole = in_order(last_logits(model, plan, edits))
        ran = []
        with ExitStack() as stack:
            for i, parts in enumerate(model.layout.parts):
                stack.enter_context(parts.attention.register_forward_pre_hook(lambda *_, i=i: ran.append(i)))
            resumed = in_order(last_logits(model, plan, edits, base))
        assert relative(resumed, whole) < tolerance
        if FAMILIES[family].mask:
            assert set(ran) == set(range(layer, N_LAYERS)), "blocks below the edit were run"


def conditions(model, unit):
    """(operator, scope) → an intervention large enough to be seen."""
    numbers = {"cap_projection": -50.0}  # from above, where tokens are
    found = {
        (op, scope): Intervention(op, unit, 1, numbers.get(op, 5.0), scope=Scope.parse(scope))
        for op in OPERATORS
        for scope in SCOPES
    }
    for scope in SCOPES:
        found["ablate everywhere", scope] = Intervention(
            "ablate", unit, 1, where="all layers", scope=Scope.parse(scope)
        )
    return found


def plainly(model, plan, edits):
    """Next-token logits of all prompts under each intervention, by one plain forward pass: one row each."""
    if (
        not model.supports_padding
    ):  # prompts of one length go together, so that a batch is not the same rows once for each
        ids = torch.arange(len(plan.prompts))
        return [plain_forward(model, plan.prompts, ids, edit.edits(model)) for edit in edits]
    rows = list(plan.prompts) * len(edits)
    own = in_shares([edit.edits(model) for edit in edits])
    return plain_forward(model, rows, torch.arange(len(rows)), own).split(len(plan.prompts))


class TestDecoding:
    N = 5

    def tokens(self, completions):
        return [completion.tokens for completion in completions]

    def by_transformers(self, model, prompts, edit):
        """Greedy tokens from hf.generate, batched with left padding (one by one if need be), the intervention on."""
        if not model.supports_padding and len(prompts) > 1:
            return [self.by_transformers(model, [p], edit)[0] for p in prompts]
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        with edit.on(model):
            out = model.hf.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=self.N, do_sample=False, pad_token_id=0
            )
        return [row[longest:].tolist() for row in out]

    def test_fast_slow_and_transformers_say_the_same_in_every_scope(self, model, unit, monkeypatch):
        prompts = model.tokenize(PROMPTS)
        edits = {scope: Intervention("add", unit, 1, 8.0, scope=Scope.parse(scope)) for scope in SCOPES}
        own = [mapping for edit in edits.values() for mapping in [edit.edits(model)] * len(prompts)]
        together = self.tokens(
            generate_tokens(model, prompts * len(SCOPES), edits_per_prompt=own, max_new_tokens=self.N)
        )  # by the dispatch that the study and the server use
        monkeypatch.setenv("RHAT_SLOW", "1")
        slow = self.tokens(generate_tokens(model, prompts * len(SCOPES), edits_per_prompt=own, max_new_tokens=self.N))
        monkeypatch.delenv("RHAT_SLOW")
        said = {}
        for i, (scope, edit) in enumerate(edits.items()):
            fast = self.tokens(generate_tokens(model, prompts, edit.edits(model), max_new_tokens=self.N))
            assert fast == slow[i * len(prompts) : (i + 1) * len(prompts)], scope
            assert fast == together[i * len(prompts) : (i + 1) * len(prompts)], scope
            theirs = self.by_transformers(model, prompts, edit)
            assert [tuple(row[: len(mine)]) for row, mine in zip(theirs, fast, strict=True)] == fast, scope
            assert all(set(row[len(mine) :]) <= {0} for row, mine in zip(theirs, fast, strict=True)), scope
            said[scope] = tuple(fast)
        plain = self.tokens(generate_tokens(model, prompts, max_new_tokens=self.N))
        assert said["all"] != tuple(plain)
        assert len({token for tokens in plain for token in tokens}) > 3, "a model that repeats itself proves little"
        assert len(set(said.values())) > 1


@pytest.mark.parametrize("name", [n for n, f in FAMILIES.items() if f.refused])
def test_a_family_without_attention_is_refused_in_one_line(name):
    with pytest.raises(ModelError, match=FAMILIES[name].refused) as caught:
        rhat.load((tiny_hf(name), tiny_tokenizer()))
    assert "\n" not in str(caught.value)
