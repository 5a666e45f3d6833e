import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from rhat.errors import InterventionError, SiteError
from rhat.interventions import OPERATORS, Intervention
from rhat.interventions.intervention import DirectionEdit
from rhat.model import Scope, TokenContext
from rhat.model.dispatch import Group, PerRow
from tiny import tiny_chat_model


def unit_of(d, seed=0):
    u = torch.randn(d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return u / u.norm()


def turned(x, u, degrees):
    """Each token turned towards u by an explicit rotation matrix of the plane of both: numpy, token by token."""
    angle, unit = np.deg2rad(degrees), u.numpy()
    rows = []
    for token in x.reshape(-1, x.shape[-1]).numpy():
        own, towards = np.linalg.qr(np.stack([token, unit], 1))[0].T
        own, towards = own * np.sign(own @ token), towards * np.sign(towards @ unit)
        plane = np.stack([own, towards], 1)
        small = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        rows.append(token - plane @ (plane.T @ token) + plane @ small @ (plane.T @ token))
    return torch.tensor(np.array(rows)).reshape(x.shape)


def at_angle(x, u, degrees):
    """Angular steering as published, h − P h + ‖P h‖ (cos θ b₁ + sin θ b₂), with the plane of u and the token: numpy."""
    angle, unit = np.deg2rad(degrees), u.numpy()
    rows = []
    for token in x.reshape(-1, x.shape[-1]).numpy():
        basis = np.linalg.qr(np.stack([unit, token], 1))[0]
        b1, b2 = basis[:, 0] * np.sign(basis[:, 0] @ unit), basis[:, 1] * np.sign(basis[:, 1] @ token)
        projector = np.outer(b1, b1) + np.outer(b2, b2)
        inside = np.linalg.norm(projector @ token)
        rows.append(token - projector @ token + inside * (np.cos(angle) * b1 + np.sin(angle) * b2))
    return torch.tensor(np.array(rows)).reshape(x.shape)


def plain(op, x, u, value):
    """The formulas of the papers, written out with an explicit projector."""
    projector = torch.outer(u, u)
    along = x @ u
    added = x + value * u
    return {
        "set_projection": x - x @ projector + value * u,
        "add": x + value * u,
        "subtract": x - value * u,
        "ablate": x - x @ projector,
        "ablate_partially": x - value * (x @ projector),
        "scale": x - x @ projector + value * (x @ projector),
        "raise_projection": x - x @ projector + torch.outer(along.flatten().clamp(min=value), u).reshape(x.shape),
        "cap_projection": x - x @ projector + torch.outer(along.flatten().clamp(max=value), u).reshape(x.shape),
        "add_keeping_norm": torch.nn.functional.normalize(added, dim=-1) * x.norm(dim=-1, keepdim=True),
        "rotate": turned(x, u, value),
        "set_angle": at_angle(x, u, value),
        "set_angle_if_aligned": torch.where(along[..., None] > 0, at_angle(x, u, value), x),
    }[op]


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_operators_are_the_formulas(op, dtype):
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    u = unit_of(16)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    before = x.clone()
    got = OPERATORS[op](x, u, 1.7)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), plain(op, x.double(), u, 1.7), atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(x, before, atol=0, rtol=0)  # never edited in place


@given(st.floats(-10, 10), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_laws(value, seed):
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    u = unit_of(8, seed + 1)
    done = OPERATORS["set_projection"](x, u, value)
    torch.testing.assert_close(done @ u, torch.full((4,), value, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(OPERATORS["set_projection"](done, u, value), done)  # idempotent
    torch.testing.assert_close(OPERATORS["ablate"](x, u), OPERATORS["set_projection"](x, u, 0.0))
    torch.testing.assert_close(OPERATORS["subtract"](OPERATORS["add"](x, u, value), u, value), x, atol=1e-9, rtol=1e-9)
    shift = value - x @ u  # setting is adding what is missing, token by token
    torch.testing.assert_close(OPERATORS["add"](x, u, shift[:, None]), done)


def context(positions, prompt, template, real=None, rows=None):
    positions = torch.tensor(positions)
    n = len(positions)
    return TokenContext(
        positions,
        torch.ones_like(positions, dtype=torch.bool) if real is None else torch.tensor(real),
        torch.tensor([prompt] * n),
        torch.tensor([template] * n),
        torch.arange(n) if rows is None else torch.tensor(rows),
    )


def test_an_edit_touches_its_scope_only_and_never_padding():
    x = torch.randn(2, 4, 8, dtype=torch.float64)
    c = context([[0, 0, 1, 2], [0, 1, 2, 3]], 3, 1, real=[[False, True, True, True], [True] * 4])
    edit = DirectionEdit(OPERATORS["add"], unit_of(8), 5.0, Scope("prompt"))
    changed = (edit(x, c) != x).any(-1)
    assert changed.tolist() == [[False, True, True, True], [True, True, True, False]]


def test_an_edit_leaves_everything_where_nothing_of_its_scope_is_there():
    edit = DirectionEdit(OPERATORS["add"], unit_of(8), 5.0, Scope("generated"))
    x = torch.randn(1, 2, 8)
    assert torch.equal(edit(x, context([[0, 1]], 4, 2)), x)


def test_each_row_gets_its_own_edit():
    x = torch.randn(3, 2, 8, dtype=torch.float64)
    u = unit_of(8)
    edits = PerRow(
        (
            (DirectionEdit(OPERATORS["add"], u, 1.0, Scope("all")), Group(torch.tensor([2]))),
            (DirectionEdit(OPERATORS["ablate"], u, 0, Scope("all")), Group(torch.tensor([0]))),
        )
    )
    got = edits(x, context([[0, 1]] * 3, 4, 2, rows=[9, 8, 7]))
    torch.testing.assert_close(got[0], plain("ablate", x[0], u, 0))
    torch.testing.assert_close(got[1], x[1], atol=0, rtol=0)
    torch.testing.assert_close(got[2], plain("add", x[2], u, 1.0))


def test_ablation_is_everywhere_and_setting_at_its_own_layer():
    layout = tiny_chat_model(n_layers=2).layout
    ablation = Intervention("ablate", unit_of(8).float(), 1, where="all layers")
    assert [str(s) for s in ablation.sites(layout)] == [
        "resid_pre.0",
        "attn_out.0",
        "mlp_out.0",
        "resid_pre.1",
        "attn_out.1",
        "mlp_out.1",
    ]
    assert [str(s) for s in Intervention("set_projection", unit_of(8).float(), 1, 2.0).sites(layout)] == ["resid_pre.1"]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda u: Intervention("sett", u, 1), InterventionError, "expected one of set_projection, add"),
        (lambda u: Intervention("add", u, 1, float("nan")), InterventionError, "finite number"),
        (
            lambda u: Intervention("add", u, 7, 1.0).sites(tiny_chat_model(n_layers=4).layout),
            SiteError,
            "layers 0 to 3; the last is resid_pre.3",
        ),
        (lambda u: Intervention("add", u, -1, 1.0), InterventionError, "layers count from 0"),
        (lambda u: Intervention("add", 3 * u, 1, 1.0), InterventionError, "got a vector of length 3, expected a unit"),
        (lambda u: Intervention("ablate", 0 * u, 1), InterventionError, "got a vector of length 0, expected a unit"),
        (lambda u: Intervention("ablate", u / 0, 1), InterventionError, "got a vector of length (nan|inf)"),
    ],
)
def test_nonsense_is_rejected_with_a_reason(make, error, says):
    with pytest.raises(error, match=says):
        make(unit_of(8).float())
