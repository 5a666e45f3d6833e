"""The search itself: batches of prompts, samples of the cone, and the loss curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions import Direction
from rhat.errors import ContrastError
from rhat.gradient.loss import Objective, Terms
from rhat.gradient.passes import frozen
from rhat.gradient.sphere import descend, retract
from rhat.gradient.targets import inside
from rhat.interventions import orthonormal
from rhat.model.chat import ChatModel
from rhat.selection.settings import Progress

STAGE = "gradient steps"


def search(
    objective: Objective, basis: Float[Tensor, "k d_model"], progress: Progress
) -> tuple[Float[Tensor, "k d_model"], tuple[Terms, ...]]:
    """The basis at the end of the descent, and the mean terms of each step's batch.

    The loss of a basis is the mean over its vectors, plus, where there are several, the mean over vectors drawn from the cone.
    """
    s = objective.settings
    curve: list[Terms] = []
    draw = torch.Generator().manual_seed(s.seed)
    bad = batches(len(objective.targets.answers), s.batch, s.seed)
    good = batches(len(objective.targets.refusals), s.batch, s.seed + 1)

    def gradient_at(now: Tensor, step: int) -> Tensor:
        shares = weights(len(now), s.samples, draw).to(now)
        found, terms = torch.zeros_like(now), []
        harmful, harmless = next(bad), next(good)
        for share, weight in shares_of(shares, len(now)):
            leaf = now.clone().requires_grad_(True)
            with torch.enable_grad():
                loss, said = objective.loss(unit_of(share, leaf), harmful, harmless)
                [slope] = torch.autograd.grad(loss, [leaf])
            found += weight * slope  # one vector at a time, so that one graph is held
            terms.append((weight, said))
        curve.append(_mean(terms))
        progress(STAGE, step + 1, s.steps)
        return found

    with frozen(objective.model.hf):
        end = descend(basis, objective.beside, gradient_at, s.steps, s.rate)
    if not bool(end.isfinite().all()):
        raise ContrastError("gradient: the vector is not finite any more; load the model in float32 or bfloat16")
    return end, tuple(curve)


def unit_of(share: Float[Tensor, " k"], basis: Float[Tensor, "k d_model"]) -> Float[Tensor, " d_model"]:
    """The unit vector Σ sᵢ vᵢ / |Σ sᵢ vᵢ|."""
    mixed = share @ basis
    found: Tensor = mixed / mixed.norm()
    return found


def weights(k: int, samples: int, draw: torch.Generator) -> Float[Tensor, "samples k"]:
    """Unit vectors of non-negative coordinates, uniform on that part of the sphere; none for one dimension."""
    if k == 1:
        return torch.zeros(0, 1)
    drawn = torch.randn(samples, k, generator=draw, dtype=torch.float64).abs()
    found: Tensor = drawn / drawn.norm(dim=-1, keepdim=True)
    return found


def shares_of(drawn: Tensor, k: int) -> list[tuple[Tensor, float]]:
    """Each basis vector and each drawn one as its coordinates, with its weight in the loss."""
    own = torch.eye(k).to(drawn)
    return [(row, 1 / k) for row in own] + [(row, 1 / len(drawn)) for row in drawn]


def batches(n: int, size: int, seed: int) -> Iterator[list[int]]:
    """Batches of prompt numbers without end: each prompt once before any comes again."""
    draw = torch.Generator().manual_seed(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < min(size, n):
            waiting += torch.randperm(n, generator=draw).tolist()
        yield waiting[:size] if n > size else waiting[:n]
        waiting = waiting[min(size, n) :]


def first_basis(
    model: ChatModel, start: Direction, beside: Float[Tensor, "m d_model"], k: int, random: bool, seed: int
) -> Float[Tensor, "k d_model"]:
    """Where the descent begins: the start, and random vectors; all are random if asked, or where the start lies in the span of
    `beside`. Orthonormal, and orthogonal to `beside`."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(k, model.d_model, generator=draw, dtype=torch.float64)
    if not random and not inside(start.unit, beside):
        rows[0] = start.unit.double()
    return retract(rows.to(beside), beside)


def beside_basis(model: ChatModel, beside: Sequence[Direction]) -> Float[Tensor, "m d_model"]:
    """An orthonormal basis of the directions that are ablated as well, in the precision of the search."""
    dtype = torch.float64 if model.dtype == torch.float64 else torch.float32
    if not beside:
        return torch.zeros(0, model.d_model, dtype=dtype, device=model.device)
    return orthonormal(beside).to(device=model.device, dtype=dtype)


def _mean(terms: Sequence[tuple[float, Terms]]) -> Terms:
    whole = sum(weight for weight, _ in terms)
    names = ("answer", "refusal", "kl", "total")
    return Terms(*(sum(w * getattr(t, name) for w, t in terms) / whole for name in names))
