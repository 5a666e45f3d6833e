"""The gradient against finite differences, the loss against plain transformers, and what is found where refusal is planted in a plane."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import torch

import rhat
from rhat.directions import Direction, random_direction
from rhat.errors import ContrastError
from rhat.gradient import GradientSettings, Objective, gradient_cone, gradient_direction, targets_of
from rhat.gradient.passes import frozen
from rhat.gradient.search import batches
from rhat.gradient.sphere import retract, tangent
from rhat.interventions import ablate_subspace
from rhat.sites import Site
from tiny import tiny_chat_model
from two_refusals import FIRST, HARMLESS, SECOND, two_refusals

PROMPTS = ["Name a river.", "Why is the sky so very blue at noon?", "Sing."]
OTHERS = ["Tell me of the old mill.", "Paint a lamp.", "What is near the sea?"]
QUICK = GradientSettings(steps=30, rate=0.8, batch=2, tokens=1, refusing=1, samples=2)
FEW = (FIRST[:2] + SECOND[:2], HARMLESS[:2])
NOTHING = torch.zeros(0, 48, dtype=torch.float64)


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("llama", n_layers=2, dtype=torch.float64)


@pytest.fixture(scope="module")
def planted():
    return two_refusals(n_layers=2)


def found(planted, positive, negative=HARMLESS, finder="mean_difference"):
    rows = [rhat.activations(planted.model, list(side), "resid_pre.1")[:, 0].double() for side in (positive, negative)]
    return Direction.from_groups(*rows, Site("resid_pre", 1), model=planted.model.describe(), finder=finder)


@pytest.fixture(scope="module")
def mixed(planted):
    """The difference of means of more of one kind than of the other, as prompts are."""
    return found(planted, FIRST + SECOND[:3])


def objective(model, seed=3, beside=0):
    draw = torch.Generator().manual_seed(seed)
    unit = torch.nn.functional.normalize(torch.randn(model.d_model, generator=draw), dim=0)
    start = Direction(unit, Site("resid_pre", 1), -1, 2.0, 3.0, 0.5)
    settings = GradientSettings(tokens=3, refusing=2)
    axes = torch.linalg.qr(torch.randn(model.d_model, max(beside, 1), generator=draw, dtype=torch.float64))[0].T
    targets = targets_of(model, PROMPTS, OTHERS, start, settings)
    return Objective(model, targets, start, settings, axes[:beside])


@pytest.mark.parametrize("beside", [0, 1])
def test_the_gradient_is_that_of_central_differences_along_the_sphere(beside):
    model = tiny_chat_model("gpt2", n_layers=2, dtype=torch.float64)  # which has no norm in float32
    made = objective(model, beside=beside)
    every = range(len(PROMPTS))
    draw = torch.Generator().manual_seed(5)
    at = retract(made.start.unit.double()[None], made.beside)
    leaf = at.clone().requires_grad_(True)
    with frozen(model.hf):
        loss, _ = made.loss(leaf[0], every, every)
        [slope] = torch.autograd.grad(loss, [leaf])
    slope = tangent(at, slope, made.beside)
    assert abs(float(slope[0] @ at[0])) < 1e-12
    eps = 1e-4
    for _ in range(3):
        way = tangent(at, torch.randn(at.shape, generator=draw, dtype=torch.float64), made.beside)
        with torch.no_grad():
            ends = [
                float(made.loss(retract(at + sign * eps * way, made.beside)[0], every, every)[0]) for sign in (1, -1)
            ]
        assert float((slope * way).sum()) == pytest.approx((ends[0] - ends[1]) / (2 * eps), rel=1e-5, abs=1e-8)


def test_the_loss_is_that_of_plain_transformers(model):
    made = objective(model)
    unit = made.start.unit.double()

    def logs(said, inputs, outputs=None):
        rows = []
        with ExitStack() as stack, torch.no_grad():
            for layer, block in enumerate(model.hf.model.layers):
                if layer in inputs:
                    stack.callback(
                        block.register_forward_pre_hook(lambda _m, a, f=inputs[layer]: (f(a[0]), *a[1:])).remove
                    )
                for part in (block.self_attn, block.mlp) if outputs else ():
                    hook = lambda _m, _a, out: (outputs(out[0]), *out[1:]) if isinstance(out, tuple) else outputs(out)  # noqa: E731
                    stack.callback(part.register_forward_hook(hook).remove)
            for prompt, tokens in said:
                out = model.hf(input_ids=torch.tensor([[*prompt, *tokens]]), use_cache=False).logits[0]
                rows.append(out[len(prompt) - 1 : -1].log_softmax(-1))
        return rows

    def entropy(said, rows):
        return np.mean([-float(r[range(len(t)), list(t)].mean()) for r, (_, t) in zip(rows, said, strict=True)])

    def without(x):
        return x - (x @ unit)[..., None] * unit

    t, everywhere = made.targets, {0: without, 1: without}
    before, after = logs(t.kept, {}), logs(t.kept, everywhere, without)
    kl = np.mean([float((b.exp() * (b - a)).sum(-1).mean()) for b, a in zip(before, after, strict=True)])
    terms = made.whole(unit)
    assert terms.answer == pytest.approx(entropy(t.answers, logs(t.answers, everywhere, without)), abs=1e-9)
    assert terms.refusal == pytest.approx(
        entropy(t.refusals, logs(t.refusals, {1: lambda x: x + 2.0 * unit})), abs=1e-9
    )
    assert terms.kl == pytest.approx(kl, abs=1e-9)
    assert terms.total == pytest.approx(terms.answer + 0.2 * terms.refusal + terms.kl)


def test_the_second_direction_that_the_difference_of_means_lacks(planted, mixed):
    """Ablating the difference of means leaves one kind; the gradient finder, and the map, find what is missing."""
    every = FIRST + SECOND
    left = planted.refused(every, rhat.ablate(mixed))
    assert left == [False] * len(FIRST) + [True] * len(SECOND)
    second = gradient_direction(planted.model, *FEW, mixed, QUICK, beside=[mixed])
    assert second.direction.cosine(mixed) == pytest.approx(0, abs=1e-5)
    assert not any(planted.refused(every, ablate_subspace([mixed, second.direction])))
    assert all(planted.refused(HARMLESS, rhat.add(second.direction, mixed.norm)))
    assert second.after.total < 0.5 * second.before.total
    assert second.opened == 2  # of the second kind: ablating the start brings no answer about there
    plane = torch.stack([planted.first, planted.second]).double()
    assert float((plane @ second.direction.unit.double()).norm()) > 0.6  # of a random direction about 0.2

    unit = random_direction(planted.model.d_model, 5, mixed.unit)  # where the search begins is not what it finds
    other = Direction.of(unit, site=mixed.site, model=planted.model)
    assert planted.refused(every, ablate_subspace([mixed, other])) == left

    neurons = [found(planted, FIRST + SECOND[:3], finder=f"som:{i}") for i in range(2)]
    ablated = [planted.refused(every, ablate_subspace([mixed, neuron])) for neuron in neurons]
    assert not any(min(ablated, key=sum))


def test_one_gradient_direction_does_alone_what_the_difference_of_means_does_not(planted, mixed):
    """Refusal is read along u₁ + u₂, so one vector is enough, though not the one between the means."""
    alone = gradient_direction(planted.model, *FEW, mixed, replace(QUICK, steps=25, rate=0.5))
    assert not any(planted.refused(FIRST + SECOND, rhat.ablate(alone.direction)))
    assert len(alone.curve) == 25
    assert alone.curve[0].total == pytest.approx(alone.before.total, abs=0.7)
    rows = rhat.activations(planted.model, list(FEW[0]), "resid_pre.1")[:, 0].double()
    assert alone.direction.mean_harmful == pytest.approx(float((rows @ alone.direction.unit.double()).mean()), abs=1e-5)


def test_a_search_is_seeded_and_leaves_the_weights_as_they_were(planted, mixed):
    asked = [p.requires_grad for p in planted.model.hf.parameters()]
    units = [gradient_direction(planted.model, *FEW, mixed, replace(QUICK, steps=2)).direction.unit for _ in range(2)]
    assert torch.equal(*units)
    assert [p.requires_grad for p in planted.model.hf.parameters()] == asked
    assert not any(p.grad is not None for p in planted.model.hf.parameters())


def test_a_cone_is_orthonormal_and_its_vectors_tell_their_own_effect(planted, mixed):
    cone = gradient_cone(planted.model, *FEW, mixed, 2, replace(QUICK, steps=3))
    units = torch.stack([d.unit.double() for d in cone.basis])
    torch.testing.assert_close(units @ units.T, torch.eye(2, dtype=torch.float64), atol=1e-5, rtol=0)
    assert np.mean([t.total for t in cone.inside]) < cone.none.total
    made = Objective(planted.model, targets_of(planted.model, *FEW, mixed, QUICK), mixed, QUICK, NOTHING)
    for direction, effect in zip(cone.basis, cone.effects, strict=True):
        assert effect.terms.total == pytest.approx(made.whole(direction.unit.double()).total, abs=1e-4)
        assert effect.refused_low <= effect.refused <= effect.refused_high
    with pytest.raises(ContrastError, match="got 6 dimensions, expected 1 to 5"):
        gradient_cone(planted.model, FIRST, HARMLESS, mixed, 6)


def test_what_cannot_be_searched_says_so(planted, mixed):
    with pytest.raises(ContrastError, match="got no harmless prompts"):
        gradient_direction(planted.model, FIRST, [], mixed, QUICK)
    with pytest.raises(ContrastError, match="got a rate of 3"):
        GradientSettings(rate=3.0)


def test_batches_take_each_prompt_once_before_any_comes_again():
    some = batches(5, 2, 0)
    drawn = [i for _ in range(5) for i in next(some)]
    assert sorted(drawn[:5]) == [0, 1, 2, 3, 4] == sorted(drawn[5:])
