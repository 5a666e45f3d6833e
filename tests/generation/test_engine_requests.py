"""The engine with requests of different interventions, sampling, stop strings and probes in one batch."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from rhat.directions import Direction
from rhat.errors import PromptError
from rhat.generation import Engine, Probe, Request, Sampling, generate_tokens
from rhat.interventions import combine, intervene
from rhat.model.plain import plain_forward
from rhat.sites import Site
from tiny import tiny_chat_model


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("qwen2")


@pytest.fixture(scope="module")
def direction(model):
    unit = torch.randn(model.d_model, generator=torch.Generator().manual_seed(3))
    return Direction(unit / unit.norm(), Site("resid_pre", 1), -1, 4.0, 5.0, -2.0)


@pytest.fixture(scope="module")
def interventions(model, direction):
    """Four: two that reach the shared prefix, one that does not, and none."""
    return [
        None,
        intervene("set_projection", direction, value=6.0).edits(model),
        intervene("add", direction, value=-7.0, scope="last_prompt_token").edits(model),
        combine([intervene("ablate", direction), intervene("add", direction, value=3.0, layer=2)]).edits(model),
    ]


WORDS = ("river", "the other bridge", "a stone on the shore is sinking", "ten", "why")


def texts(n):
    return [f"{WORDS[i % 5]} {'and ' * (i % 7)}{i}" for i in range(n)]


def finish(engine):
    while engine.rows:
        engine.step()


def reference(model, request, edits):
    """The completion by whole plain forward passes, one request alone: no cache, no batch, no shared prefix."""
    said = []
    generator = request.sampling.generator() if request.sampling else None
    while len(said) < request.max_new_tokens:
        logits = plain_forward(
            model, [(*request.tokens, *said)], torch.tensor([0]), edits, torch.tensor([len(request.tokens)])
        )[0]
        token = request.sampling.pick(logits, said, generator) if request.sampling else int(logits.argmax())
        said.append(token)
        if token in model.eos_ids:
            break
    return said


def test_64_requests_with_four_interventions_say_what_each_says_alone(model, interventions):
    prompts = model.tokenize(texts(64))
    requests = [
        Request(
            prompts[i],
            6 + i % 5,
            row=i,
            edits=interventions[i % 4],
            sampling=Sampling(temperature=0.9, top_p=0.8, seed=i) if i % 3 == 0 else None,
        )
        for i in range(64)
    ]
    together = Engine(model, n_slots=64)
    rows = together.add(requests[:40])  # the rest join while those are decoding
    for _ in range(2):
        together.step()
    rows += together.add(requests[40:])
    finish(together)
    for request, row in zip(requests, rows, strict=True):
        alone = Engine(model, n_slots=1)
        [single] = alone.add([replace(request, row=0)])
        finish(alone)
        assert row.generated == single.generated
        assert row.generated == reference(model, request, request.edits)
    assert len({tuple(row.generated) for row in rows}) > 30  # the test would see a mix-up


def test_an_intervention_on_the_prefix_reaches_its_own_rows_prefix(model, direction, interventions):
    """Same prompt four times: rows differ only by their edits, and so must the prefix that they share."""
    prompt = model.tokenize(["a stone"])[0]
    edits = intervene("set_projection", direction, value=9.0, scope="prompt").edits(model)
    engine = Engine(model, n_slots=4)
    rows = engine.add(
        [Request(prompt, 8, row=i, edits=e) for i, e in enumerate([edits, None, edits, interventions[3]])]
    )
    finish(engine)
    plain, edited = reference(model, rows[1].request, None), reference(model, rows[0].request, edits)
    assert plain != edited
    assert [row.generated for row in rows[:3]] == [edited, plain, edited]
    assert rows[3].generated == reference(model, rows[3].request, interventions[3])


def test_prefixes_are_run_once_per_intervention_and_reused(model, interventions):
    engine = Engine(model, n_slots=8)
    prompts = model.tokenize(texts(8))
    calls = Counter()
    head = len(engine.prefill.template_prefix)

    def counting(which):
        def count(_module, args, kwargs):
            x = args[0] if args else kwargs["hidden_states"]
            calls[which] += tuple(x.shape[:2]) == (1, head)

        return count

    ends = [model.layout.parts[i].attention for i in (0, -1)]
    handles = [part.register_forward_pre_hook(counting(i), with_kwargs=True) for i, part in enumerate(ends)]
    for i in (0, 1, 2, 1, 2, 0, 1):  # 2 edits the last prompt token only: it shares the unedited prefix
        engine.add([Request(prompts[i], 2, edits=interventions[i])])
    for handle in handles:
        handle.remove()
    assert calls == {0: 2, 1: 2}  # unedited, and as far as an edit begins; unedited, and from there on


def test_prompts_without_the_template_join_the_batch(model, interventions):
    """Raw completions: shorter than the head, no template tokens, in a batch with chats."""
    raw = tuple(model.tokenizer("he", add_special_tokens=False)["input_ids"])
    chat = model.tokenize(["a stone"])[0]
    engine = Engine(model, n_slots=3)
    rows = engine.add(
        [
            Request(raw, 5, row=0, template_length=0, edits=interventions[1]),
            Request(chat, 5, row=1, edits=interventions[1]),
            Request(chat, 5, row=2),
        ]
    )
    finish(engine)
    assert [row.generated for row in rows] == [reference(model, row.request, row.request.edits) for row in rows]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_the_plain_engine_says_the_same(family):
    model = tiny_chat_model(family)
    unit = torch.nn.functional.one_hot(torch.tensor(3), model.d_model).float()
    direction = Direction(unit, Site("resid_pre", 1), -1, 4.0, 5.0, -2.0)
    edits = [
        None,
        intervene("set_projection", direction, value=6.0).edits(model),
        intervene("ablate", direction).edits(model),
    ]
    said = []
    for plain in (False, True):
        engine = Engine(model, n_slots=9, plain=plain)
        probe = Probe(direction.site, direction.unit)
        rows = engine.add(
            [Request(p, 5, row=i, edits=edits[i % 3], probe=probe) for i, p in enumerate(model.tokenize(texts(9)))]
        )
        finish(engine)
        said.append(rows)
    for fast, slow in zip(*said, strict=True):
        assert fast.generated == slow.generated
        assert set(fast.projection_before) == set(slow.projection_before)
        assert fast.projection_before == pytest.approx(slow.projection_before, abs=1e-9)


def test_probes_read_every_token_before_and_after_the_edit(model, direction, interventions):
    """Against a whole forward pass read by transformers' own hidden states."""
    prompts = model.tokenize(["a stone", "the other river is near"])
    engine = Engine(model, n_slots=2)
    rows = engine.add(
        [
            Request(prompts[0], 5, row=0, probe=Probe(direction.site, direction.unit), ignore_eos=True),
            Request(
                prompts[1],
                3,
                row=1,
                probe=Probe(direction.site, direction.unit),
                edits=interventions[1],
                ignore_eos=True,
            ),
        ]
    )
    finish(engine)
    plain = rows[0]
    with torch.no_grad():
        hidden = model.hf(torch.tensor([plain.sequence]), output_hidden_states=True).hidden_states[direction.layer][0]
    expected = direction.project(hidden)
    start = len(prompts[0]) - model.template_length
    assert sorted(plain.projection_before) == list(range(start, len(plain.sequence)))
    for position, value in plain.projection_before.items():
        assert value == pytest.approx(float(expected[position]), abs=1e-9)
    assert plain.projection_after == plain.projection_before
    assert list(rows[1].projection_after.values()) == pytest.approx([6.0] * (model.template_length + 3))
    assert max(abs(v - 6.0) for v in rows[1].projection_before.values()) > 0.1


def test_a_seed_gives_the_same_answer_in_any_batch_and_another_seed_another(model):
    prompt = model.tokenize(["a stone"])[0]

    def said(seed, company):
        engine = Engine(model, n_slots=8)
        others = (
            [Request(p, 12, sampling=Sampling(1.0, seed=99)) for p in model.tokenize(texts(company))] if company else []
        )
        rows = engine.add([*others, Request(prompt, 12, sampling=Sampling(1.0, seed=seed), ignore_eos=True)])
        finish(engine)
        return rows[-1].generated

    assert said(5, 0) == said(5, 7)
    assert said(5, 0) != said(6, 0)


def test_logprobs_are_those_of_a_whole_forward_pass(model):
    prompt = model.tokenize(["a stone"])[0]
    engine = Engine(model, n_slots=2)
    row = engine.add([Request(prompt, 4, logprobs=3, ignore_eos=True)])[0]
    finish(engine)
    for index, noted in enumerate(row.logprobs):
        logits = plain_forward(model, [(*prompt, *row.generated[:index])], torch.tensor([0]))[0]
        values = torch.log_softmax(logits, -1)
        assert noted.token == row.generated[index]
        assert noted.logprob == pytest.approx(float(values[noted.token]), abs=1e-9)
        assert [t for t, _ in noted.top] == values.topk(3).indices.tolist()


def test_a_cancelled_row_frees_its_slot_and_leaves_the_others_alone(model, interventions):
    prompts = model.tokenize(texts(4))
    engine = Engine(model, n_slots=4)
    rows = engine.add([Request(p, 8, row=i, edits=interventions[i]) for i, p in enumerate(prompts)])
    engine.step()
    engine.cancel(rows[1])
    assert (engine.free, rows[1].finish_reason) == (1, "cancelled")
    late = engine.add([Request(prompts[1], 8, row=9, edits=interventions[1])])[0]
    finish(engine)
    for row in (rows[0], rows[2], rows[3], late):
        assert row.generated == reference(model, row.request, row.request.edits)


def test_a_failure_while_joining_leaves_the_batch_as_it_was(model):
    class Broken:
        def __call__(self, activation, context):
            raise RuntimeError("broken edit")

        def first_position(self, prompt_length, template_start):
            return 0

    prompts = model.tokenize(texts(3))
    engine = Engine(model, n_slots=3)
    row = engine.add([Request(prompts[0], 6)])[0]
    with pytest.raises(RuntimeError, match="broken edit"):
        engine.add([Request(prompts[1], 6), Request(prompts[2], 6, edits={Site("resid_pre", 0): Broken()})])
    assert engine.rows == [row]
    finish(engine)
    assert row.generated == reference(model, row.request, None)


def test_own_edits_of_generate_tokens(model, interventions):
    prompts = model.tokenize(texts(6))
    own = [interventions[i % 4] for i in range(6)]
    got = generate_tokens(model, prompts, edits_per_prompt=own, max_new_tokens=5)
    assert [list(c.tokens) for c in got] == [
        reference(model, Request(p, 5), e) for p, e in zip(prompts, own, strict=True)
    ]
    with pytest.raises(PromptError, match="got 1, expected one for each of 6 prompts"):
        generate_tokens(model, prompts, edits_per_prompt=own[:1])


def test_a_prompt_under_several_late_edits_runs_its_lower_blocks_once(model, direction, interventions):
    """Five of the six ways begin at block 1 or later, or nowhere; the ablation begins at block 0."""
    late = [
        None,
        *interventions[1:3],
        intervene("add", direction, value=5.0, layer=2).edits(model),
        intervene("set_projection", direction, value=-6.0, layer=2, scope="prompt").edits(model),
    ]
    ways = [*late, interventions[3]]
    prompts = model.tokenize(texts(4))
    asked = [(p, e) for p in prompts for e in ways]
    rows = {0: 0, 1: 0}

    def counting(block):
        def count(_module, args, kwargs):
            x = args[0] if args else kwargs["hidden_states"]
            rows[block] += len(x) if x.shape[1] > 1 else 0

        return count

    blocks = [model.layout.parts[i].attention for i in rows]
    hooks = [block.register_forward_pre_hook(counting(i), with_kwargs=True) for i, block in enumerate(blocks)]
    try:
        got = generate_tokens(model, [p for p, _ in asked], edits_per_prompt=[e for _, e in asked], max_new_tokens=5)
    finally:
        for hook in hooks:
            hook.remove()
    assert [list(c.tokens) for c in got] == [reference(model, Request(p, 5), e) for p, e in asked]
    assert 0 < rows[1] - len(asked) <= len(ways) + 1
    # each prompt once for all late edits, and once under the ablation; prefixes also as far as each block at which edits begin
    assert 0 < rows[0] - 4 - 4 <= 4


def test_requests_that_do_not_fit_are_refused(model):
    engine = Engine(model, n_slots=1, max_length=16)
    with pytest.raises(PromptError, match="at most 16 fit"):
        engine.add([Request(tuple(range(10)), 7)])
    with pytest.raises(PromptError, match="2 requests, 1 slots are free"):
        engine.add([Request((5, 6), 1), Request((5, 6), 1)])
    with pytest.raises(PromptError, match="expected at least one of each"):
        engine.add([Request((), 3)])
