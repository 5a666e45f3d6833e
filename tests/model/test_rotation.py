"""Rotary positions that depend on the sequence's length: logits are those of plain transformers on each prompt alone, and
answers those of `hf.generate`, whatever runs beside them. Every rope type of transformers, on both sides of its switch."""

import asyncio
import copy
import dataclasses

import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

import rhat
from rhat.capture import capture_all_tokens
from rhat.errors import ModelError
from rhat.generation import Engine, Request, generate_tokens
from rhat.model import cache_clean_run, last_logits
from rhat.model.check import check
from rhat.model.conditions import last_logits_under
from rhat.model.lengths import switches, try_lengths
from rhat.model.plain import plain_forward
from rhat.model.plans import plan
from rhat.model.rotation import ropes
from rhat.scoring.drift import cross_entropy
from rhat.sites import Site
from tiny import VOCAB, tiny_tokenizer

SWITCH = 64
LENGTHS = (20, 57, 63, 64, 65, 66, 90)  # answers of eight tokens make the second to fourth cross
NEW = 8
EXACT = 1e-9

LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 6,
    "long_factor": [4.0, 6, 8, 10, 12, 14],
    "original_max_position_embeddings": SWITCH,
    "factor": 8.0,
}
DYNAMIC = {"rope_type": "dynamic", "factor": 4.0}
# What each type is set to, and the length at which it changes.
TYPES = {
    "default": ({"rope_type": "default"}, None),
    "linear": ({"rope_type": "linear", "factor": 3.0}, None),
    "dynamic": (DYNAMIC, SWITCH),
    "yarn": ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": SWITCH}, None),
    "longrope": (LONGROPE, SWITCH),
    "llama3": (
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": SWITCH,
        },
        None,
    ),
    "proportional": ({"rope_type": "proportional", "factor": 2.0, "partial_rotary_factor": 0.5}, None),
}
# Models of one type, and: one that runs everything anew when it crosses, one with a factor of its own for long sequences,
# and two with a type for each type of layer.
NESTED = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 30}
MODELS = {
    **{kind: ("LlamaConfig", settings, {}) for kind, (settings, _) in TYPES.items()},
    "phi3": ("Phi3Config", LONGROPE, {"original_max_position_embeddings": SWITCH, "max_position_embeddings": 512}),
    "phimoe": (
        "PhimoeConfig",
        {**LONGROPE, "short_mscale": 1.1, "long_mscale": 1.3},
        {"original_max_position_embeddings": SWITCH, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "layers": (
        "Gemma3TextConfig",
        {"full_attention": LONGROPE, "sliding_attention": {"rope_type": "default"}},
        {**NESTED, "head_dim": 12},
    ),
    "two kinds": (
        "Gemma3TextConfig",
        {"full_attention": {**LONGROPE, "original_max_position_embeddings": 60}, "sliding_attention": DYNAMIC},
        {**NESTED, "head_dim": 12},
    ),
}


def built(name):
    """The model, and a function that gives one like it that has run nothing yet."""
    cls, rope, more = MODELS[name]
    rope = copy.deepcopy(rope)
    for one in [rope] if "rope_type" in rope else rope.values():
        one["rope_theta"] = 1e4
    config = getattr(transformers, cls)(
        **{
            "vocab_size": VOCAB,
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "num_hidden_layers": 3,
            "max_position_embeddings": SWITCH,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": None,
            "rope_parameters": rope,
            **more,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hf = transformers.AutoModelForCausalLM.from_config(config, experts_implementation="eager").double().eval()
        with torch.no_grad():
            for p in hf.parameters():
                if p.ndim > 1:
                    p.copy_(torch.randn(p.shape, dtype=torch.float64) * 1.5 * p.shape[-1] ** -0.5)
    hf.generation_config.eos_token_id, hf.generation_config.pad_token_id = None, 0
    return hf, lambda: copy.deepcopy(hf)


class Case:
    """A model, prompts, and what plain transformers makes of each of them alone."""

    def __init__(self, name):
        hf, self.fresh = built(name)
        self.model = rhat.load((copy.deepcopy(hf), tiny_tokenizer()))
        self.model.tokenizer.eos_token = None
        draw = torch.Generator().manual_seed(3)
        text = torch.randint(5, VOCAB, (max(LENGTHS),), generator=draw).tolist()
        self.ids = [(*text[: n - 1], 5 + n) for n in LENGTHS]  # alike but for their last tokens
        with torch.no_grad():
            self.logits = torch.cat([self.alone(ids) for ids in self.ids])

    def alone(self, ids, add=None):
        hf = self.fresh()
        if add is not None:
            hf.model.layers[1].register_forward_pre_hook(lambda _m, args: (args[0] + add, *args[1:]))
        with torch.no_grad():
            return hf(input_ids=torch.tensor([ids]), use_cache=False).logits[:, -1]

    def answer(self, ids):
        asked = torch.tensor([ids])
        out = self.fresh().generate(
            input_ids=asked, attention_mask=torch.ones_like(asked), max_new_tokens=NEW, do_sample=False
        )
        return out[0, len(ids) :].tolist()


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    return Case(request.param)


@pytest.fixture(scope="module")
def answers(case):
    return [case.answer(ids) for ids in case.ids]


def collected(pairs, n):
    found = {row: x for rows, logits in pairs for row, x in zip(rows.tolist(), logits, strict=True)}
    return torch.stack([found[i] for i in range(n)])


def off(got, want):
    """The worst row's relative error."""
    return float(((got - want).norm(dim=-1) / want.norm(dim=-1)).max())


def test_every_rope_type_of_transformers_is_looked_at():
    assert set(TYPES) == {"default", *ROPE_INIT_FUNCTIONS}


@pytest.mark.parametrize("kind", TYPES)
def test_what_depends_on_the_length_is_found_from_the_configuration(kind):
    hf, _ = built(kind)
    assert [rope.length for rope in ropes(hf.config)] == [TYPES[kind][1]]


def test_a_type_that_is_not_known_is_taken_to_depend_on_every_length():
    config = transformers.LlamaConfig(rope_parameters={"rope_type": "default", "rope_theta": 1e4})
    config.rope_parameters["rope_type"] = "new"
    [rope] = ropes(config)
    assert rope.exact
    assert rope.length == 0


def test_logits_together(case):
    model = case.model
    assert model.fast, model.fast_path.reason
    assert off(collected(last_logits(model, model.lay_out(case.ids)), len(case.ids)), case.logits) < EXACT


def test_logits_alone_and_among_their_like(case):
    model = case.model
    for some in ([0, 1, 2], [3], [4, 5, 6], [6], [3, 4], [0, 6]):
        got = collected(last_logits(model, model.lay_out([case.ids[i] for i in some])), len(some))
        assert off(got, case.logits[some]) < EXACT


def test_short_prompts_share_what_they_begin_with_and_so_do_long_ones(case):
    shared = case.model.lay_out(case.ids).prefix_length
    assert bool(shared) == (not switches_by_rope(case))
    assert case.model.lay_out(case.ids[:3]).prefix_length == (20 - 4 if not rope_below(case, 63) else 0)


def switches_by_rope(case):
    return [s for s in switches(case.model) if "rotation" in s.why]


def rope_below(case, length):
    return any(s.length < length for s in switches_by_rope(case))


def test_logits_by_the_plain_path(case, monkeypatch):
    monkeypatch.setenv("RHAT_SLOW", "1")
    model = case.model
    assert off(collected(last_logits(model, model.lay_out(case.ids)), len(case.ids)), case.logits) < EXACT
    assert off(plain_forward(model, case.ids, torch.arange(len(case.ids))), case.logits) < EXACT


def test_logits_of_edited_runs_that_start_from_a_kept_one(case):
    model = case.model
    add = torch.randn(2, model.d_model, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    edits = [{Site("resid_pre", 1): Adding(vector)} for vector in add]
    laid_out = model.lay_out(case.ids)
    base = cache_clean_run(model, laid_out, [1], keep_kv=True)
    by_condition = {0: {}, 1: {}}
    for which, rows, logits in last_logits_under(model, laid_out, edits, base):
        by_condition[which].update(zip(rows.tolist(), logits, strict=True))
    for which, vector in enumerate(add):
        want = torch.cat([case.alone(ids, vector) for ids in case.ids])
        assert off(torch.stack([by_condition[which][i] for i in range(len(case.ids))]), want) < EXACT
        assert off(collected(last_logits(model, laid_out, edits[which], base), len(case.ids)), want) < EXACT


@dataclasses.dataclass(frozen=True, eq=False)
class Adding:
    vector: torch.Tensor

    def __call__(self, activation, context):
        return activation + self.vector

    def first_position(self, prompt_length, template_start):
        return 0


def test_an_edit_of_last_tokens_alone(case):
    model = case.model
    unit = torch.randn(model.d_model, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    laid_out = model.lay_out(case.ids)
    base = cache_clean_run(model, laid_out, [1], keep_kv=True)
    edits = {Site("resid_pre", 1): AtTheEnd(unit)}
    got = collected(last_logits(model, laid_out, edits, base), len(case.ids))
    want = torch.cat(
        [
            case.alone(ids, torch.zeros(len(ids), 1).double().index_fill(0, torch.tensor(len(ids) - 1), 1) * unit)
            for ids in case.ids
        ]
    )
    assert off(got, want) < EXACT


class AtTheEnd(Adding):
    def __call__(self, activation, context):
        last = context.positions == context.prompt_length[:, None] - 1
        return activation + last[..., None] * self.vector

    def first_position(self, prompt_length, template_start):
        return prompt_length - 1


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
def test_answers_of_rows_that_join_at_different_times(case, answers, plain):
    engine = Engine(case.model, n_slots=len(case.ids), max_length=max(LENGTHS) + NEW, plain=plain)
    rows = []
    for index, ids in enumerate(case.ids):
        rows += engine.add([Request(ids, NEW, row=index, ignore_eos=True)])
        if index % 2:
            engine.step()
    while engine.rows:
        engine.step()
    assert [row.generated for row in rows] == answers


def test_answers_asked_together(case, answers):
    got = generate_tokens(case.model, case.ids, max_new_tokens=NEW, ignore_eos=True)
    assert [list(one.tokens) for one in got] == answers
    assert len(set(map(tuple, answers))) > 3  # not the same word again and again


def test_cross_entropy_is_that_of_one_pass_over_the_whole(case):
    completions = [(7, 9, 11, 13)] * len(case.ids)
    got = cross_entropy(case.model, case.ids, completions)
    for value, ids, completion in zip(got, case.ids, completions, strict=True):
        with torch.no_grad():
            logits = case.fresh()(input_ids=torch.tensor([(*ids, *completion)]), use_cache=False).logits[0]
        want = torch.nn.functional.cross_entropy(logits[-5:-1], torch.tensor(completion))
        assert float(value) == pytest.approx(float(want), rel=EXACT)


def test_activations_that_are_captured(case):
    model = case.model
    unit = torch.nn.functional.normalize(torch.randn(model.d_model, generator=torch.Generator().manual_seed(8)), dim=0)
    got = capture_all_tokens(model, model.lay_out(case.ids), Site("resid_pre", 2), unit)
    for values, ids in zip(got, case.ids, strict=True):
        with torch.no_grad():
            hidden = case.fresh()(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[2][0]
        want = hidden @ unit.double()
        assert float((values - want).norm() / want.norm()) < EXACT


def test_what_runs_afterwards_finds_the_model_as_it_was(case):
    for _ in last_logits(case.model, case.model.lay_out(case.ids)):
        pass
    for index in (3, 0):
        with torch.no_grad():
            own = case.model.hf(input_ids=torch.tensor([case.ids[index]]), use_cache=False).logits[0, -1]
        assert off(own, case.logits[index]) < EXACT


@pytest.mark.parametrize("name", ["dynamic", "phi3"])
def test_a_server_that_answers_short_and_long_requests_at_once(name):
    from rhat.server.events import Done, TokensEvent
    from rhat.server.jobs import GenerationJob
    from rhat.server.metrics import Metrics
    from rhat.server.runner import Runner

    case = Case(name)
    runner = Runner(case.model, slots=8, max_length=max(LENGTHS) + NEW, max_queue=8, metrics=Metrics())

    async def said(ticket):
        tokens = []
        while not isinstance(event := await asyncio.wait_for(ticket.events.get(), 60), Done):
            tokens += [one.token for one in event.tokens] if isinstance(event, TokensEvent) else []
        return tokens

    async def all_of_them():
        tickets = []
        for ids in case.ids:
            tickets.append(runner.submit((GenerationJob(Request(ids, NEW, ignore_eos=True, stop=())),)))
            await asyncio.sleep(0.01)
        return [await said(ticket) for ticket in tickets]

    runner.start()
    try:
        got = asyncio.run(all_of_them())
    finally:
        runner.stop()
    assert got == [case.answer(ids) for ids in case.ids]


class OwnRotary(torch.nn.Module):
    """What a model with code of its own may have: a rotation by the longest row that says nothing of itself."""

    def __init__(self, like):
        super().__init__()
        self.short = like
        self.register_buffer("long", like.inv_freq / 5)

    def forward(self, x, position_ids):
        wanted = self.short.original_inv_freq if int(position_ids.max()) < SWITCH else self.long
        angles = position_ids[..., None].double() * wanted
        both = torch.cat([angles, angles], -1)
        return both.cos().to(x.dtype), both.sin().to(x.dtype)


def test_a_rotation_that_cannot_be_set_is_run_one_prompt_at_a_time():
    hf, _ = built("longrope")
    hf.model.rotary_emb = OwnRotary(hf.model.rotary_emb)
    del hf.model.rotary_emb.short.rope_type
    like = copy.deepcopy(hf)
    model = rhat.load((hf, tiny_tokenizer()))
    assert not model.fast
    assert not model.supports_padding
    assert "longrope" in model.fast_path.reason
    ids = [tuple(range(10, 10 + n)) for n in (20, 64, 65, 90)]
    with torch.no_grad():
        want = torch.cat([like(input_ids=torch.tensor([one])).logits[:, -1] for one in ids])
    assert off(collected(last_logits(model, model.lay_out(ids)), len(ids)), want) < EXACT
    assert off(plain_forward(model, ids, torch.arange(len(ids))), want) < EXACT


def test_a_prefix_that_is_turned_in_two_ways_is_not_shared():
    case = Case("longrope")
    mixed = plan(case.ids, 4)
    assert mixed.prefix_length
    with pytest.raises(ModelError, match=r"20 to 90 tokens shares a prefix, .* beyond 64"):
        list(last_logits(case.model, mixed))


LAW = "prompts of mixed lengths agree with plain transformers"


def row_of(report, what):
    return next((row for row in report.rows() if row["check"] == what), None)


def test_check_tries_both_sides_and_fails_where_rotations_are_mixed():
    model = Case("longrope").model
    good = check(model)
    assert good.ok
    assert "64 and 65 (longrope rotation)" in row_of(good, LAW)["where"]
    assert row_of(good, "lengths not tried") is None
    model.__dict__["rotation"] = dataclasses.replace(model.rotation, modules=())
    bad = row_of(check(model), LAW)
    assert bad["outcome"] == "failed"
    assert "in one batch" in bad["measured"]


def test_check_holds_against_a_model_that_has_seen_nothing():
    case = Case("dynamic")
    with torch.no_grad():
        case.model.hf(input_ids=torch.tensor([case.ids[-1]]))  # its module keeps what 90 tokens need
    found = try_lengths(case.model, case.ids[0])
    assert [switch.length for switch in found.tried] == [SWITCH]
    assert max(found.errors.values()) < EXACT


def test_check_says_what_is_too_long_to_try():
    hf, _ = built("longrope")
    hf.config.rope_parameters["original_max_position_embeddings"] = 200_000
    report = check(rhat.load((hf, tiny_tokenizer())))
    assert report.ok
    left = row_of(report, "lengths not tried")
    assert left["outcome"] == "absent"
    assert left["where"] == "200000 (longrope rotation)"
    assert "at most" in left["measured"]
