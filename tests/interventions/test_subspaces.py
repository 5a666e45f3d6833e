"""Several directions at once, on a model whose refusal lies in a plane, against plain hooks with an explicit projector."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch

import rhat
from rhat import interventions
from rhat.directions import Direction
from rhat.errors import DirectionError, InterventionError
from rhat.sites import Site
from tiny import tiny_chat_model
from two_refusals import FIRST, HARMLESS, SECOND, two_refusals

PROMPTS = ["Name a river.", "Why is the sky so very blue at noon?", "Sing.", "Tell me of the old mill by the sea."]


@pytest.fixture(scope="module")
def planted():
    return two_refusals()


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("llama", n_layers=4, dtype=torch.float64)


def found(planted, positive, negative=HARMLESS):
    """The difference of means of two groups of prompts, as a direction."""
    rows = [rhat.activations(planted.model, list(side), "resid_pre.1")[:, 0].double() for side in (positive, negative)]
    return Direction.from_groups(*rows, Site("resid_pre", 1), model=planted.model.describe())


def oblique(model, n=3, layer=1):
    """Directions that are far from orthogonal to one another."""
    generator = torch.Generator().manual_seed(3)
    common = torch.randn(model.d_model, generator=generator)
    raw = [common + 0.7 * torch.randn(model.d_model, generator=generator) for _ in range(n)]
    return [Direction(r / r.norm(), Site("resid_pre", layer), -1, 2.0, 3.0 + i, 0.5 - i) for i, r in enumerate(raw)]


def by_hand(model, prompts, inputs, outputs=None):
    """Logits with plain hooks: layer → function of the block's input; and one for all that blocks add."""
    rows = []
    with ExitStack() as stack, torch.no_grad():
        for layer, block in enumerate(model.hf.model.layers):
            if layer in inputs:
                handle = block.register_forward_pre_hook(lambda _m, a, f=inputs[layer]: (f(a[0]), *a[1:]))
                stack.callback(handle.remove)
            if outputs is not None:
                for part in (block.self_attn.o_proj, block.mlp):
                    stack.callback(part.register_forward_hook(lambda _m, _a, out: outputs(out)).remove)
        for tokens in model.tokenize(prompts):
            rows.append(model.hf(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1])
    return torch.stack(rows).float()


def test_rank_two_removes_what_rank_one_leaves(planted):
    assert all(planted.refused(FIRST + SECOND))
    assert not any(planted.refused(HARMLESS))
    mixed = found(planted, FIRST + SECOND[:3])  # more of one kind than of the other, as prompts are
    left = planted.refused(FIRST + SECOND, rhat.ablate(mixed))
    assert left == [False] * len(FIRST) + [True] * len(SECOND)
    kinds = [found(planted, FIRST), found(planted, SECOND)]
    assert not any(planted.refused(FIRST + SECOND, interventions.ablate_subspace(kinds)))
    one = [planted.refused(FIRST + SECOND, rhat.ablate(kind)) for kind in kinds]
    assert one == [[False] * 8 + [True] * 8, [True] * 8 + [False] * 8]
    # The first direction and another of the plane span the same plane.
    assert not any(planted.refused(FIRST + SECOND, interventions.ablate_subspace([mixed, kinds[1]])))


def test_setting_the_plane_makes_harmless_prompts_refused_and_harmful_ones_answered(planted):
    kinds = [found(planted, FIRST), found(planted, SECOND)]
    assert all(planted.refused(HARMLESS, interventions.set_subspace(kinds)))
    assert not any(planted.refused(FIRST + SECOND, interventions.set_subspace(kinds, alpha=0)))
    assert not any(planted.refused(HARMLESS, interventions.set_subspace(kinds, alpha=0.1)))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_ablating_a_span_is_one_projection(model, k):
    some = oblique(model, k)
    span = np.stack([d.unit.double().numpy() for d in some])
    left = torch.tensor(np.eye(model.d_model) - np.linalg.pinv(span) @ span)
    doing = interventions.ablate_subspace(some)
    truth = by_hand(model, PROMPTS, {layer: lambda x: x @ left for layer in range(4)}, lambda x: x @ left)
    torch.testing.assert_close(rhat.logits(model, PROMPTS, doing), truth, atol=1e-5, rtol=0)
    if k > 1:  # one after the other without orthogonalising is something else
        naive = rhat.logits(model, PROMPTS, interventions.combine([rhat.ablate(d) for d in some]))
        assert float((naive - truth).abs().max()) > 1e-2
    said = [c.tokens for c in model.generate(PROMPTS, 4, intervention=doing)]
    with doing.on(model):
        assert [c.tokens for c in model.generate(PROMPTS, 4)] == said


def test_setting_a_span_sets_every_projection(model):
    some, targets = oblique(model), [2.0, -1.0, 4.0]
    span = np.stack([d.unit.double().numpy() for d in some])
    inverse = np.linalg.pinv(span)
    left, shift = torch.tensor(np.eye(model.d_model) - inverse @ span), torch.tensor(inverse @ np.array(targets))
    doing = interventions.set_subspace(some, targets)
    truth = by_hand(model, PROMPTS, {1: lambda x: x @ left + shift})
    torch.testing.assert_close(rhat.logits(model, PROMPTS, doing), truth, atol=1e-5, rtol=0)
    with doing.on(model):
        for direction, target in zip(some, targets, strict=True):
            seen = rhat.projections(model, PROMPTS, direction)
            torch.testing.assert_close(seen, torch.full_like(seen, target), atol=1e-5, rtol=0)
    with interventions.set_subspace(some).on(model):  # by default each direction's harmful mean
        for direction in some:
            seen = rhat.projections(model, PROMPTS, direction)
            torch.testing.assert_close(seen, torch.full_like(seen, direction.mean_harmful), atol=1e-5, rtol=0)


def test_a_basis_begins_with_the_first_direction_and_spans_them_all(model):
    some = oblique(model)
    basis = interventions.orthonormal(some)
    torch.testing.assert_close(basis @ basis.T, torch.eye(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(basis[0], some[0].unit.double(), atol=1e-6, rtol=0)
    for row, direction in zip(basis, some, strict=True):
        assert float(row @ direction.unit.double()) > 0
        torch.testing.assert_close(basis.T @ (basis @ direction.unit.double()), direction.unit.double())


def test_dependent_directions_and_other_nonsense_are_rejected(model):
    some = oblique(model, 2)
    between = some[0] + some[1]
    unknown = Direction.of(some[0].unit, site="resid_pre.1")
    for call, error, says in (
        (lambda: interventions.ablate_subspace([*some, between]), InterventionError, "linearly dependent"),
        (lambda: interventions.ablate_subspace([some[0], -some[0]]), InterventionError, "linearly dependent"),
        (lambda: interventions.ablate_subspace([]), InterventionError, "got no directions"),
        (lambda: interventions.set_subspace(some, [1.0]), InterventionError, "got 1 targets for 2 directions"),
        (lambda: interventions.set_subspace(some, [1.0, 2.0], alpha=1), InterventionError, "expected one of them"),
        (
            lambda: interventions.set_subspace([unknown]),
            DirectionError,
            "mean projection of harmful prompts is unknown",
        ),
        (lambda: interventions.at_own_layers("add", some), InterventionError, "expected one direction for each layer"),
        (lambda: interventions.at_own_layers("add", []), InterventionError, "layers none"),
    ):
        with pytest.raises(error, match=says) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("alpha", [None, 0.0, 0.3])
def test_each_layer_has_its_own_vector_and_means(model, alpha):
    some = [oblique(model, 3, layer)[i] for i, layer in enumerate((1, 2, 3))]
    for op in ("add", "set_projection"):

        def edited(d, op=op):
            unit, harmless, harmful = d.unit.double(), d.mean_harmless, d.mean_harmful
            if op == "add":
                return lambda x: x + (harmful if alpha is None else alpha * (harmful - harmless)) * unit
            target = harmful if alpha is None else harmless + alpha * (harmful - harmless)
            return lambda x: x + (target - x @ unit)[..., None] * unit

        truth = by_hand(model, PROMPTS, {d.layer: edited(d) for d in some})
        doing = interventions.at_own_layers(op, some, alpha=alpha)
        torch.testing.assert_close(rhat.logits(model, PROMPTS, doing), truth, atol=1e-5, rtol=0)
    plain = rhat.logits(model, PROMPTS)
    nothing = rhat.logits(model, PROMPTS, interventions.at_own_layers("add", some, value=0.0))
    torch.testing.assert_close(nothing, plain, atol=1e-9, rtol=0)
