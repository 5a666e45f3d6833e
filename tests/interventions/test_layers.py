"""Interventions at chosen layers, against plain hooks; a layer that would say nothing is rejected."""

import pytest
import torch

import rhat
from rhat.cli.steer import layers_of
from rhat.directions import Direction
from rhat.errors import InterventionError, SiteError
from rhat.sites import Site
from tiny import tiny_chat_model


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("llama", n_layers=4, dtype=torch.float64)


@pytest.fixture(scope="module")
def direction(model):
    unit = torch.nn.functional.normalize(torch.randn(model.d_model, generator=torch.Generator().manual_seed(3)), dim=0)
    return Direction(unit, Site("resid_pre", 1), -1, 2.0, 3.0, 0.5, model={"name": model.name})


def by_hand(model, direction, layers, op):
    """Logits of one prompt with hooks of the test's own."""
    unit = direction.unit.double()

    def edited(x):
        return x + 2.5 * unit if op == "add" else x - (x @ unit)[..., None] * unit

    handles = []
    for layer in layers:
        block = model.hf.model.layers[layer]
        handles.append(block.register_forward_pre_hook(lambda _m, a: (edited(a[0]), *a[1:])))
        if op == "ablate":
            handles.append(block.self_attn.o_proj.register_forward_hook(lambda _m, _a, out: edited(out)))
            handles.append(block.mlp.register_forward_hook(lambda _m, _a, out: edited(out)))
    try:
        with torch.no_grad():
            return model.hf(input_ids=torch.tensor([model.tokenize(["Sing."])[0]]), use_cache=False).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("layers", [(0, 2), (3,), (1, 2, 3)])
@pytest.mark.parametrize("op", ["add", "ablate"])
def test_at_chosen_layers_it_is_what_plain_hooks_do(model, direction, layers, op):
    value = 2.5 if op == "add" else None
    got = rhat.logits(model, ["Sing."], rhat.intervene(op, direction, value=value, where=layers))
    torch.testing.assert_close(got[0], by_hand(model, direction, layers, op).float())


def test_what_it_says_of_its_layers(direction):
    assert rhat.add(direction, 1.0, where=(2, 0, 1)).describe()["sites"] == "layers 0–2"


def test_a_layer_that_would_be_ignored_is_rejected(direction):
    for call in (
        lambda: rhat.ablate(direction, layer=2),
        lambda: rhat.add(direction, where="all layers", layer=2),
        lambda: rhat.add(direction, where=(1, 2), layer=2),
    ):
        with pytest.raises(InterventionError, match=r"got layer 2, but it acts at .*own layer"):
            call()
    assert rhat.ablate(direction, layer=2, where="own layer").describe()["sites"] == "resid_pre.2"


def test_layers_that_are_none_are_rejected(model, direction):
    for wrong in ((), (-1,)):
        with pytest.raises(InterventionError, match="expected one or more that count from 0"):
            rhat.add(direction, 1.0, where=wrong)
    with pytest.raises(SiteError, match="layers 0 to 3"):
        rhat.add(direction, 1.0, where=(1, 4)).edits(model)


def test_layers_on_the_command_line():
    assert layers_of("5,7-9") == (5, 7, 8, 9)
    assert (layers_of(None), layers_of("own"), layers_of("all")) == (None, "own layer", "all layers")
    for wrong in ("", "5-3", "x", "1;2", "-1"):
        with pytest.raises(InterventionError, match="expected own, all, or layers such as"):
            layers_of(wrong)
