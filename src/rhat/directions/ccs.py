"""Contrast-consistent search: a probe from unlabelled contrast pairs (Burns et al. 2022). It intervenes on nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rhat.errors import ContrastError
from rhat.reprs import one_line


@dataclass(frozen=True, eq=False)
class CCS:
    """p(x) = σ(w·(x − mean) + b) for each side of a pair, each centred with its own training mean.

    weights    [d], per residual unit: a reduction and a scaling that the fit made are undone
    loss       training loss of the best restart
    """

    weights: Float[Tensor, " d_model"]
    bias: float
    means: Float[Tensor, "2 d_model"]
    loss: float
    sign: int = 1

    __repr__ = one_line

    def probabilities(
        self, positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "n d_model"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """p⁺ and p⁻ of pairs, float64."""
        p, q = (
            torch.sigmoid((side.double() - mean) @ self.weights + self.bias)
            for side, mean in zip((positive, negative), self.means, strict=True)
        )
        return p, q

    def consistency(self, positive: Tensor, negative: Tensor) -> float:
        """Mean |p⁺ − (1 − p⁻)|: 0 is consistent."""
        p, q = self.probabilities(positive, negative)
        return float((p - (1 - q)).abs().mean())

    def predict(self, positive: Tensor, negative: Tensor) -> Bool[Tensor, " n"]:
        """Whether the positive side is the true one, by ½ (p⁺ + 1 − p⁻), with the sign fixed on training labels."""
        p, q = self.probabilities(positive, negative)
        return ((p + 1 - q) / 2 > 0.5) == (self.sign > 0)

    def signed(self, positive: Tensor, negative: Tensor, truth: Bool[Tensor, " n"]) -> CCS:
        """The same probe with its sign fixed so that training labels are met more often than not."""
        right = float((replace(self, sign=1).predict(positive, negative) == truth).double().mean())
        return replace(self, sign=1 if right >= 0.5 else -1)

    @property
    def direction(self) -> Float[Tensor, " d_model"]:
        """Unit vector, sign included."""
        vector = self.sign * self.weights
        unit: Tensor = vector / vector.norm()
        return unit.float()


def ccs_loss(p: Float[Tensor, "*batch n"], q: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """mean (p⁺ − (1 − p⁻))² + mean min(p⁺, p⁻)²: consistent and confident. Burns et al. 2022, section 2.2."""
    return (p - (1 - q)).square().mean(-1) + torch.minimum(p, q).square().mean(-1)


def reduced_width(n: int) -> int:
    """Components to keep of n pairs: the most that are fewer than n/4, at least 1.

    In as many dimensions as pairs, every labelling is linear and CCS fits pure noise with a loss near 0.
    """
    return max(1, -(-n // 4) - 1)


def fit_ccs(
    positive: Float[Tensor, "n d_model"],
    negative: Float[Tensor, "n d_model"],
    *,
    components: int | None = None,
    restarts: int = 10,
    steps: int = 500,
    learning_rate: float = 0.01,
    weight_decay: float = 0.01,
    seed: int = 0,
) -> CCS:
    """Fit CCS to pairs; the restart of lowest training loss wins. All restarts run at once, in float64, by AdamW.

    `components` asks for the fit in so many principal components of these pairs' centred differences; take fewer than a quarter
    of the pairs (`reduced_width`), or noise is fitted as well as signal. Without it, every dimension is used, as in Burns et al.
    No labels are used: fix the sign afterwards with `signed`.

    Raises:
        ContrastError: if the sides are not pairs, there are fewer than two, a value is not finite, or there are not so many components.
    """
    given = {"restarts": restarts, "steps": steps, "learning_rate": learning_rate, "weight_decay": weight_decay}
    return fit_ccs_each([positive], [negative], components=components, seed=seed, **given)[0]  # type: ignore[arg-type]


def fit_ccs_each(
    positive: Sequence[Float[Tensor, "n d_model"]],
    negative: Sequence[Float[Tensor, "n d_model"]],
    *,
    components: int | None = None,
    restarts: int = 10,
    steps: int = 500,
    learning_rate: float = 0.01,
    weight_decay: float = 0.01,
    seed: int = 0,
) -> list[CCS]:
    """`fit_ccs` of several sets of pairs of one size, such as the layers of a model, descended side by side.

    Raises:
        ContrastError: as `fit_ccs`.
    """
    ready = [_ready(*sides, components) for sides in zip(positive, negative, strict=True)]
    x, y = (torch.stack([one[side] for one in ready]) for side in ("x", "y"))
    generator = torch.Generator().manual_seed(seed)
    sets, _, width = x.shape
    start = torch.randn(restarts, width, generator=generator, dtype=torch.float64)
    start = start / start.norm(dim=1, keepdim=True)
    weights = start.expand(sets, restarts, width).clone().requires_grad_()
    bias = torch.zeros(sets, restarts, 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.AdamW([weights, bias], lr=learning_rate, weight_decay=weight_decay)
    with torch.enable_grad():
        for _ in range(steps):
            optimiser.zero_grad()
            p, q = (torch.sigmoid(weights @ side.mT + bias) for side in (x, y))
            ccs_loss(p, q).sum().backward()
            optimiser.step()
        p, q = (torch.sigmoid(weights @ side.mT + bias) for side in (x, y))
        losses = ccs_loss(p, q).detach()
    probes = []
    for one, w, b, loss in zip(ready, weights.detach(), bias.detach(), losses, strict=True):
        best = int(loss.argmin())
        within = w[best] / one["scale"]
        axes = one["axes"]
        full = within if axes is None else axes.T @ within
        probes.append(CCS(full, float(b[best]), one["means"], float(loss[best])))
    return probes


def _ready(positive: Tensor, negative: Tensor, components: int | None) -> dict[str, Any]:
    """Both sides as they are fitted: centred, reduced where asked, each feature in units of its standard deviation."""
    if positive.shape != negative.shape or len(positive) < 2:
        raise ContrastError(
            f"ccs: got {tuple(positive.shape)} and {tuple(negative.shape)}, expected as many positive as negative rows, "
            "at least 2"
        )
    if not bool((positive.isfinite() & negative.isfinite()).all()):
        raise ContrastError(
            "ccs: got rows with values that are not finite, expected numbers; load the model with a wider dtype"
        )
    most = min(len(positive), positive.shape[1])
    if components is not None and not 1 <= components <= most:
        raise ContrastError(
            f"ccs: got components={components} for {len(positive)} pairs in {positive.shape[1]} dimensions, expected 1 to {most}; "
            f"reduced_width({len(positive)}) is {reduced_width(len(positive))}"
        )
    means = torch.stack([positive.double().mean(0), negative.double().mean(0)])
    x, y = positive.double() - means[0], negative.double() - means[1]
    axes = None
    if components is not None:
        axes = torch.linalg.svd(x - y, full_matrices=False).Vh[:components]
        x, y = x @ axes.T, y @ axes.T
    scale = torch.cat([x, y]).std(0).clamp_min(1e-8)
    return {"x": x / scale, "y": y / scale, "means": means, "axes": axes, "scale": scale}
