"""Rows that have said the same so far share the blocks below their first edit: the numbers stay, and less is computed."""

import pytest
import torch

from rhat.directions import random_direction
from rhat.generation import Engine, Probe, Request, stepping
from rhat.generation.stepping import sharing
from rhat.interventions import Intervention
from rhat.model.tap import tap
from rhat.model.work import counting
from rhat.sites import Site
from tiny import tiny_chat_model

TEXTS = ["Name a river", "why is seven odd? Say it in many more words than that"]
FAMILIES = ("llama", "gemma2", "gpt2", "phi")
N_LAYERS, STEPS = 4, 4


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return tiny_chat_model(request.param, N_LAYERS)


def conditions(model):
    unit = random_direction(model.d_model, 0)
    late = [("add", 0.0), ("set_projection", 0.3), ("add", 1e-9), ("add", 40.0)]
    return [
        {},
        *(Intervention(op, unit, 3, value).edits(model) for op, value in late),
        Intervention("add", unit, 2, 1e-9).edits(model),
        Intervention("ablate", unit, 0, where="all layers").edits(model),
    ]


def logits(model, many):
    """(row, step) → logits, every prompt under every condition in one batch."""
    prompts = model.tokenize(TEXTS)
    seen = {}

    def choose(values, rows):
        for row, value in zip(rows, values, strict=True):
            seen[row.request.row, len(row.generated)] = value.clone()
        return values.argmax(-1)

    engine = Engine(model, n_slots=16, max_length=96, choose=choose)
    engine.add(
        [
            Request(tuple(p), STEPS, row=len(many) * i + j, edits=edits or None, ignore_eos=True)
            for i, p in enumerate(prompts)
            for j, edits in enumerate(many)
        ]
    )
    while engine.rows:
        engine.step()
    return seen


def test_the_numbers_stay_and_less_is_computed(model, monkeypatch):
    many = conditions(model)
    with counting() as shared:
        found = logits(model, many)
    monkeypatch.setattr(stepping, "LEAST_SAVED", 2.0)  # more than all: nothing is shared
    with counting() as whole:
        alone = logits(model, many)
    assert found.keys() == alone.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, alone[key], rtol=1e-9, atol=1e-9)
    assert whole.total.block_step_tokens == N_LAYERS * len(TEXTS) * len(many) * (STEPS - 1)
    assert shared.total.block_step_tokens < 0.85 * whole.total.block_step_tokens
    assert len({tuple(value.tolist()) for (_, step), value in found.items() if step == STEPS - 1}) > len(TEXTS)


def test_where_nothing_is_shared():
    model = tiny_chat_model("llama", N_LAYERS)
    many = conditions(model)
    engine = Engine(model, n_slots=16, max_length=96)
    [prompt] = model.tokenize(TEXTS[:1])

    def start(edits, **more):
        rows = engine.add([Request(tuple(prompt), 3, edits=one or None, ignore_eos=True, **more) for one in edits])
        found = sharing(model, rows, engine.edits)
        for row in rows:
            engine.cancel(row)
        return found

    assert start([many[0], many[1], many[6]]) == (3, [0, 0, 1])
    assert start([many[0], many[6]]) == (0, [])  # ablating at every layer has nothing in common
    assert start([many[0]]) == (0, [])
    probe = Probe(Site("resid_pre", 1), random_direction(model.d_model, 0))
    assert start([many[0], many[1]], probe=probe) == (0, [])
    with tap(model, many[6]):
        assert start([many[0], many[1]]) == (0, [])
    engine.edits = many[6]
    assert start([many[0], many[1]]) == (0, [])
