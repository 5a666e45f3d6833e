"""Arithmetic of the operators that need more than a line: (x[..., d_model], r[d_model], value) → x[..., d_model].

x is the residual stream at each token and r the unit direction, both of one floating-point type; a new tensor comes back, in
that type. Angles are in degrees. Nothing here imports torch: tensors bring their own arithmetic.
"""

from __future__ import annotations

import math
from typing import Any


def along(x: Any, r: Any) -> Any:
    """r̂·x with a last dimension of 1, in residual-stream units."""
    return (x @ r).unsqueeze(-1)


def add_keeping_norm(x: Any, r: Any, c: Any) -> Any:
    """(x + c r̂) ‖x‖ / ‖x + c r̂‖: addition, then every token is as long as it was. c = 0 changes nothing, to the bit.

    The `normalize` option of control vectors in the code of Zou et al. 2023 (arXiv 2310.01405): their paper does not say it. A
    token that would become zero stays where addition puts it.
    """
    moved = x + c * r
    return moved * (length(x) / length(moved))


def rotate(x: Any, r: Any, angle: Any) -> Any:
    """cos φ x + sin φ ‖x‖ t̂, where t̂ is the unit vector at x towards r̂, orthogonal to x: a turn towards r̂ by the angle φ.

    The plane is that of r̂ and x, token by token; every token keeps its length, and all that is orthogonal to this plane. φ = 0
    changes nothing, to the bit; a negative angle turns away from r̂. Vu & Nguyen 2025 (arXiv 2510.26243) turn to an angle, in a
    plane that is the same for all tokens: see `set_angle`, and `rhat.interventions.AngleInPlane` for their form.
    """
    cos, sin = cos_sin(angle)
    own = x / length(x)
    tangent = r - along(own, r) * own
    return cos * x + sin * length(x) * (tangent / length(tangent))


def set_angle(x: Any, r: Any, angle: Any) -> Any:
    """‖x‖ (cos θ r̂ + sin θ û), û the unit vector of x − (r̂·x) r̂: every token at the angle θ from r̂, as long as it was.

    Angular steering (Vu & Nguyen 2025, arXiv 2510.26243): h − P h + ‖P h‖ (cos θ b₁ + sin θ b₂), with P the projection on the
    plane of b₁ = r̂ and b₂. Here that plane is the one of r̂ and x, so that P x = x and b₂ = û; in the paper it is the same for
    all tokens, with b₂ a principal component. The formula is that of the authors' code; the paper itself was not at hand.
    90 degrees removes r̂ and keeps the norm. A token along r̂ itself has no û: it comes out as cos θ ‖x‖ r̂.
    """
    cos, sin = cos_sin(angle)
    rest = x - along(x, r) * r
    return length(x) * (cos * r + sin * (rest / length(rest)))


def set_angle_if_aligned(x: Any, r: Any, angle: Any) -> Any:
    """`set_angle` where r̂·x > 0, and x elsewhere: only tokens that lean towards refusal are turned.

    Adaptive angular steering (Vu & Nguyen 2025, arXiv 2510.26243), whose condition is that of the authors' code.
    """
    return set_angle(x, r, angle).where(along(x, r) > 0, x)


def raise_projection(x: Any, r: Any, t: Any) -> Any:
    """x + max(0, t − r̂·x) r̂: only tokens below t are set to it; the others stay as they are, to the bit.

    Steering to a target projection (Herbster et al. 2026, arXiv 2604.08169) with the threshold at the target. Their abstract
    says that tokens below a threshold are steered, which there comes from a logistic probe; its equations were not at hand.
    """
    return x + (t - along(x, r)).clamp(min=0) * r


def cap_projection(x: Any, r: Any, t: Any) -> Any:
    """x − max(0, r̂·x − t) r̂: only tokens above t are set to it. The mirror of `raise_projection`."""
    return x - (along(x, r) - t).clamp(min=0) * r


def length(x: Any) -> Any:
    """‖x‖ with a last dimension of 1; a vector of zeros has the smallest number instead, so that dividing is possible."""
    return x.norm(dim=-1, keepdim=True).clamp(min=SMALLEST)


def cos_sin(angle: Any) -> tuple[Any, Any]:
    """Cosine and sine of degrees: a number, or a tensor with one for each token."""
    if isinstance(angle, (int, float)):
        return math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return angle.deg2rad().cos(), angle.deg2rad().sin()


SMALLEST = 1e-30  # a float32 that is not zero, and far below any activation
