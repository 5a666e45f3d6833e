"""An angle in a fixed plane and steering in a null space, against the papers' formulas in numpy and by plain hooks."""

import numpy as np
import pytest
import torch

import rhat
from rhat import interventions
from rhat.directions import Direction
from rhat.errors import InterventionError
from rhat.generation import generate_tokens
from rhat.sites import Site
from tiny import tiny_chat_model
from two_refusals import FIRST, HARMLESS, two_refusals

PROMPTS = ["Name a river.", "Why is the sky so very blue at noon?", "Sing.", "Tell me of the old mill by the sea."]


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("llama", n_layers=3, dtype=torch.float64)


def direction(model, seed=3, layer=1):
    u = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))
    return Direction(u / u.norm(), Site("resid_pre", layer), -1, 2.0, 3.0, 0.5)


def by_hand(model, layer, function):
    """Logits of each prompt with a plain hook on one block's input, alone and without padding."""
    handle = model.hf.model.layers[layer].register_forward_pre_hook(lambda _m, a: (function(a[0]), *a[1:]))
    try:
        with torch.no_grad():
            passes = [model.hf(input_ids=torch.tensor([t]), use_cache=False) for t in model.tokenize(PROMPTS)]
    finally:
        handle.remove()
    return torch.stack([given.logits[0, -1] for given in passes])


def published(first, second, degrees, adaptive):
    """h − P h + ‖P h‖ (cos θ b₁ + sin θ b₂), masked by sign(b₁·h), in numpy with an explicit projector."""
    b1 = first.unit.double().numpy()
    b1 = b1 / np.linalg.norm(b1)
    b2 = second.unit.double().numpy()
    b2 = b2 - (b2 @ b1) * b1
    b2 = b2 / np.linalg.norm(b2)
    projector = np.outer(b1, b1) + np.outer(b2, b2)
    wanted = np.cos(np.deg2rad(degrees)) * b1 + np.sin(np.deg2rad(degrees)) * b2

    def function(h):
        x = h.numpy()
        inside = x @ projector
        turned = x - inside + np.linalg.norm(inside, axis=-1, keepdims=True) * wanted
        mask = np.maximum(0, np.sign(x @ b1))[..., None] if adaptive else 1.0
        return torch.tensor(x + mask * (turned - x))

    return function


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, 180.0, 250.0])
def test_an_angle_in_a_plane_is_the_published_formula(model, degrees, adaptive):
    first, second = direction(model), direction(model, 4)
    doing = interventions.angle_in_plane(first, second, degrees, adaptive=adaptive)
    truth = by_hand(model, 1, published(first, second, degrees, adaptive))

    torch.testing.assert_close(rhat.logits(model, PROMPTS, doing), truth.float(), atol=1e-5, rtol=1e-5)

    assert float((truth.float() - rhat.logits(model, PROMPTS)).abs().max()) > 1e-3
    tokens = model.tokenize(PROMPTS)
    rows = [doing.edits(model), None, doing.edits(model), None]
    mixed = generate_tokens(model, tokens, edits_per_prompt=rows, max_new_tokens=4, ignore_eos=True)
    with doing.on(model):
        steered = model.generate(PROMPTS, 4)
    for row, (one, alone) in enumerate(zip(mixed, steered, strict=True)):
        expected = alone if rows[row] is not None else model.generate([PROMPTS[row]], 4)[0]
        assert one.tokens[: len(expected.tokens)] == expected.tokens


def test_an_angle_keeps_lengths_and_what_is_beside_the_plane(model):
    first, second = direction(model), direction(model, 4)
    x = torch.randn(50, model.d_model, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    doing = interventions.angle_in_plane(first, second, 33.0)
    pair = interventions.orthonormal([first, second])
    done = doing.apply(x, pair)
    torch.testing.assert_close(done.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(done - (done @ pair.T) @ pair, x - (x @ pair.T) @ pair)
    torch.testing.assert_close(doing.apply(done, pair), done)  # idempotent
    inside = done @ pair.T
    torch.testing.assert_close(
        torch.rad2deg(torch.atan2(inside[:, 1], inside[:, 0])), torch.full((50,), 33.0, dtype=torch.float64)
    )
    only = interventions.angle_in_plane(first, second, 33.0, adaptive=True).apply(x, pair)
    away = x @ pair[0] <= 0
    assert 0 < int(away.sum()) < 50
    assert torch.equal(only[away], x[away])
    torch.testing.assert_close(only[~away], done[~away])


def alphasteer(harmful, harmless, raw, ridge, share):
    """Δ with h' = h + λ h Δ, as whole matrices in numpy: the authors' equations, the null space by SVD of the second moment."""
    width = harmless.shape[1]
    _, _, axes = np.linalg.svd(harmless.T @ harmless)
    kept = width - np.linalg.matrix_rank(harmless) if share is None else int(width * share)
    q = axes[width - kept :].T
    projector = q @ q.T
    x = harmful @ projector
    a = x.T @ x + ridge * projector.T @ projector
    delta = np.linalg.pinv(a, rcond=1e-10) @ x.T @ np.repeat(raw[None], len(x), 0)
    return projector @ delta


@pytest.mark.parametrize("share", [None, 0.75])  # all 28 dimensions without harmless activations, and 8 more
def test_null_space_steering_is_the_whole_matrix_of_the_paper(model, share):
    r = direction(model)
    generator = torch.Generator().manual_seed(5)
    harmful, harmless = (torch.randn(20, model.d_model, generator=generator, dtype=torch.float64) for _ in range(2))
    made = interventions.null_space_steering(r, harmful, harmless, strength=0.8, ridge=3.0, null_share=share)
    delta = alphasteer(harmful.numpy(), harmless.numpy(), 2.0 * r.unit.double().numpy(), 3.0, share)
    x = torch.randn(7, model.d_model, generator=generator, dtype=torch.float64)
    expected = x.numpy() + 0.8 * x.numpy() @ delta
    np.testing.assert_allclose(made.apply(x, made.pair.double()).numpy(), expected, atol=2e-6)
    truth = by_hand(model, 1, lambda h: h + 0.8 * h @ torch.tensor(delta))
    torch.testing.assert_close(rhat.logits(model, PROMPTS, made), truth.float(), atol=1e-5, rtol=1e-5)
    nothing = interventions.null_space_steering(r, harmful, harmless, strength=0.0, null_share=share)
    assert torch.equal(nothing.apply(x, nothing.pair.double()), x)


def test_it_vanishes_on_harmless_activations_and_adds_r_to_harmful_ones():
    planted = two_refusals(dtype=torch.float32)
    rows = {}
    for side, prompts in (("harmful", FIRST), ("harmless", HARMLESS)):
        rows[side] = rhat.activations(planted.model, list(prompts), "resid_pre.1")[:, 0].double()
    r = Direction.from_groups(rows["harmful"], rows["harmless"], Site("resid_pre", 1), model=planted.model.describe())
    made = interventions.null_space_steering(r, rows["harmful"], rows["harmless"], ridge=1e-3)
    moved = {side: made.apply(x, made.pair.double()) - x for side, x in rows.items()}
    assert float(moved["harmless"].norm(dim=-1).max()) < 1e-4 * r.norm
    along = (
        moved["harmful"] @ r.unit.double()
    )  # one dimension is free of harmless prompts, in which harmful ones differ by a tenth
    assert float(along.mean()) == pytest.approx(r.norm, rel=0.02)
    torch.testing.assert_close(along, torch.full_like(along, r.norm), rtol=0.12, atol=0)
    away = interventions.null_space_steering(r, rows["harmful"], rows["harmless"], ridge=1e-3, strength=-1.0)
    assert not any(planted.refused(FIRST, away))  # r is taken off where a token looks harmful
    assert not any(planted.refused(HARMLESS, made))  # and nothing is added where it does not
    assert all(planted.refused(HARMLESS, rhat.set_projection(r)))


def test_nonsense_is_rejected_in_one_line(model):
    r, rows = direction(model), torch.randn(60, model.d_model)
    for call, says in (
        (lambda: interventions.null_space_steering(r, rows[:5], rows), "leave none; give null_share"),
        (
            lambda: interventions.null_space_steering(r, rows[:5, :3], rows[:, :3]),
            "expected rows of width 48 on both sides",
        ),
        (lambda: interventions.angle_in_plane(r, -r, 20.0), "linearly dependent"),
        (lambda: interventions.angle_in_plane(r, direction(model, 4), float("nan")), "finite number of degrees"),
        (lambda: interventions.angle_in_plane(*map(wide, (1, 2))).edits(model), "got vectors of width 8, .* has 48"),
    ):
        with pytest.raises(InterventionError, match=says) as caught:
            call()
        assert "\n" not in str(caught.value)


def wide(seed):
    u = torch.randn(8, generator=torch.Generator().manual_seed(seed))
    return Direction.of(u / u.norm(), site="resid_pre.1")
