"""What each operator promises: no effect at its neutral value, lengths kept, twice is once, and precision."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from rhat.interventions import OPERATORS

# op → the number at which nothing is changed for any activation; None: there is no such number.
NEUTRAL = {
    "set_projection": None,
    "add": 0.0,
    "subtract": 0.0,
    "ablate": None,
    "ablate_partially": 0.0,
    "scale": 1.0,
    "raise_projection": -1e6,
    "cap_projection": 1e6,
    "add_keeping_norm": 0.0,
    "rotate": 0.0,
    "set_angle": None,
    "set_angle_if_aligned": None,
}
NORM_KEPT = ("add_keeping_norm", "rotate", "set_angle", "set_angle_if_aligned")
IDEMPOTENT = ("set_projection", "ablate", "raise_projection", "cap_projection", "set_angle", "set_angle_if_aligned")
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def some(seed, dtype=torch.float64, d=32, scale=4.0):
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(2, 6, d, generator=generator, dtype=torch.float64)
    u = torch.nn.functional.normalize(torch.randn(d, generator=generator, dtype=torch.float64), dim=0)
    return x.to(dtype), u.float()


def test_every_operator_says_what_is_neutral():
    assert set(NEUTRAL) == set(OPERATORS)


@pytest.mark.parametrize("op", [op for op, value in NEUTRAL.items() if value is not None])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_neutral_value_changes_nothing_to_the_bit(op, dtype):
    x, u = some(1, dtype)
    x[0, 0] = 0  # a token without a length is no exception
    assert torch.equal(OPERATORS[op](x, u, NEUTRAL[op]), x)
    assert not torch.equal(OPERATORS[op](x, u, NEUTRAL[op] + (1e6 if op == "raise_projection" else -1e6)), x)


@pytest.mark.parametrize("op", NORM_KEPT)
@given(st.floats(-179, 179), st.integers(0, 500))
@settings(max_examples=25, deadline=None)
def test_the_norm_is_kept(op, value, seed):
    x, u = some(seed)
    torch.testing.assert_close(OPERATORS[op](x, u, value).norm(dim=-1), x.norm(dim=-1), rtol=1e-7, atol=0)


@pytest.mark.parametrize("op", NORM_KEPT)
def test_the_norm_is_kept_in_half_precision_too(op):
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 4e-3), (torch.float16, 1e-3)):
        x, u = some(3, dtype)
        done = OPERATORS[op](x, u, 60.0)
        assert done.dtype == dtype
        torch.testing.assert_close(done.double().norm(dim=-1), x.double().norm(dim=-1), rtol=tolerance, atol=0)


@pytest.mark.parametrize("op", [op for op in OPERATORS if op not in NORM_KEPT and op != "ablate"])
def test_the_others_do_not_keep_it(op):
    x, u = some(4)
    done = OPERATORS[op](x, u, 3.0 if op != "cap_projection" else -3.0)
    assert float((done.norm(dim=-1) - x.norm(dim=-1)).abs().max()) > 1e-2


@pytest.mark.parametrize("op", OPERATORS)
def test_twice_is_once_where_that_holds_and_nowhere_else(op):
    x, u = some(5)
    value = 50.0
    if op in ("raise_projection", "cap_projection"):
        value = 0.5
    once = OPERATORS[op](x, u, value)
    twice = OPERATORS[op](once, u, value)
    same = torch.allclose(once, twice, rtol=0, atol=1e-6)
    assert same == (op in IDEMPOTENT)


@given(st.floats(-90, 90), st.integers(0, 500))
@settings(max_examples=25, deadline=None)
def test_a_rotation_turns_by_its_angle_and_back_again(angle, seed):
    x, u = some(seed)
    u = u.double() / u.double().norm()

    def angle_to(y):
        return torch.rad2deg(torch.acos((y @ u / y.norm(dim=-1)).clamp(-1, 1)))

    done = OPERATORS["rotate"](x, u, angle)
    before, between = (
        angle_to(x),
        torch.rad2deg(torch.acos(torch.nn.functional.cosine_similarity(x, done, dim=-1).clamp(-1, 1))),
    )
    torch.testing.assert_close(between, torch.full_like(between, abs(angle)), atol=1e-4, rtol=0)
    turned = (before - angle > 0.1) & (before - angle < 179.9)  # neither through r̂ nor through −r̂
    torch.testing.assert_close(angle_to(done)[turned], (before - angle)[turned], atol=1e-4, rtol=0)
    torch.testing.assert_close(OPERATORS["rotate"](done, u, -angle)[turned], x[turned], atol=1e-6, rtol=0)


@given(st.floats(1, 179), st.integers(0, 500))
@settings(max_examples=25, deadline=None)
def test_a_set_angle_is_that_angle(angle, seed):
    x, u = some(seed)
    u = u.double() / u.double().norm()
    for op in ("set_angle", "set_angle_if_aligned"):
        done = OPERATORS[op](x, u, angle)
        found = torch.rad2deg(torch.acos(done @ u / done.norm(dim=-1)))
        changed = (x @ u > 0) | (op == "set_angle")
        torch.testing.assert_close(found[changed], torch.full_like(found[changed], angle), atol=1e-4, rtol=0)
        assert torch.equal(done[~changed], x[~changed])
    rest = x - (x @ u)[..., None] * u  # 90 degrees: ablation, at the length of before
    ablated = OPERATORS["ablate"](x, u)
    torch.testing.assert_close(
        OPERATORS["set_angle"](x, u, 90.0), ablated * (x.norm(dim=-1) / rest.norm(dim=-1))[..., None], atol=1e-9, rtol=0
    )


@given(st.floats(-8, 8), st.integers(0, 500))
@settings(max_examples=25, deadline=None)
def test_raising_and_capping_leave_the_other_side_to_the_bit_and_together_are_setting(value, seed):
    x, u = some(seed)
    u = u.double() / u.double().norm()
    raised, capped = OPERATORS["raise_projection"](x, u, value), OPERATORS["cap_projection"](x, u, value)
    below = x @ u < value
    assert torch.equal(raised[~below], x[~below])
    assert torch.equal(capped[below], x[below])
    torch.testing.assert_close(raised @ u, (x @ u).clamp(min=value), atol=1e-9, rtol=0)
    torch.testing.assert_close(capped @ u, (x @ u).clamp(max=value), atol=1e-9, rtol=0)
    both = OPERATORS["cap_projection"](raised, u, value)
    torch.testing.assert_close(both, OPERATORS["set_projection"](x, u, value), atol=1e-9, rtol=0)


def test_ablating_a_share_lies_between_nothing_and_all():
    x, u = some(6)
    torch.testing.assert_close(OPERATORS["ablate_partially"](x, u, 1.0), OPERATORS["ablate"](x, u))
    torch.testing.assert_close(OPERATORS["ablate_partially"](x, u, 0.3), OPERATORS["scale"](x, u, 0.7))


@pytest.mark.parametrize("op", NORM_KEPT)
def test_a_token_along_the_direction_stays_a_number(op):
    _, u = some(7)
    for dtype in DTYPES:
        x = torch.stack([5 * u, -5 * u, 0 * u]).to(dtype)
        for value in (0.0, 5.0, 90.0, -5.0):
            assert bool(OPERATORS[op](x, u, value).isfinite().all())
