"""Contrast-consistent search: a probe from unlabelled contrast pairs (Burns et al. 2022). It intervenes on nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rhat.errors import ContrastError
from rhat.reprs import one_line


@dataclass(frozen=True, eq=False)
class CCS:
    """p(x) = σ(w·(x − mean)/scale + b) for each side of a pair, each centred with its own training statistics.

    weights    [d], for the scaled activations; `direction` undoes the scaling
    loss       training loss of the best restart
    """

    weights: Float[Tensor, " d_model"]
    bias: float
    means: Float[Tensor, "2 d_model"]
    scale: Float[Tensor, " d_model"]
    loss: float
    sign: int = 1

    __repr__ = one_line

    def probabilities(
        self, positive: Float[Tensor, "n d_model"], negative: Float[Tensor, "n d_model"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """p⁺ and p⁻ of pairs, float64."""
        p, q = (
            torch.sigmoid(((side.double() - mean) / self.scale) @ self.weights + self.bias)
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
        right = float(
            (CCS(self.weights, self.bias, self.means, self.scale, self.loss).predict(positive, negative) == truth)
            .double()
            .mean()
        )
        return CCS(self.weights, self.bias, self.means, self.scale, self.loss, 1 if right >= 0.5 else -1)

    @property
    def direction(self) -> Float[Tensor, " d_model"]:
        """Unit vector in the units of the activations, scaling undone, sign included."""
        vector = self.sign * self.weights / self.scale
        unit: Tensor = vector / vector.norm()
        return unit.float()


def ccs_loss(p: Float[Tensor, "*batch n"], q: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """mean (p⁺ − (1 − p⁻))² + mean min(p⁺, p⁻)²: consistent and confident. Burns et al. 2022, section 2.2."""
    return (p - (1 - q)).square().mean(-1) + torch.minimum(p, q).square().mean(-1)


def fit_ccs(
    positive: Float[Tensor, "n d_model"],
    negative: Float[Tensor, "n d_model"],
    *,
    restarts: int = 10,
    steps: int = 500,
    learning_rate: float = 0.01,
    weight_decay: float = 0.01,
    seed: int = 0,
) -> CCS:
    """Fit CCS to pairs; the restart of lowest training loss wins. All restarts run at once, in float64, by AdamW.

    No labels are used: fix the sign afterwards with `signed`.

    Raises:
        ContrastError: if the sides are not pairs, there are fewer than two, or a value is not finite.
    """
    if positive.shape != negative.shape or len(positive) < 2:
        raise ContrastError(
            f"ccs: got {tuple(positive.shape)} and {tuple(negative.shape)}, expected as many positive as negative rows, "
            "at least 2"
        )
    if not bool((positive.isfinite() & negative.isfinite()).all()):
        raise ContrastError(
            "ccs: got rows with values that are not finite, expected numbers; load the model with a wider dtype"
        )
    means = torch.stack([positive.double().mean(0), negative.double().mean(0)])
    centred = positive.double() - means[0], negative.double() - means[1]
    scale = torch.cat(centred).std(0).clamp_min(1e-8)
    x, y = (side / scale for side in centred)
    generator = torch.Generator().manual_seed(seed)
    d = x.shape[1]
    start = torch.randn(restarts, d, generator=generator, dtype=torch.float64)
    weights = (start / start.norm(dim=1, keepdim=True)).requires_grad_()
    bias = torch.zeros(restarts, 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.AdamW([weights, bias], lr=learning_rate, weight_decay=weight_decay)
    with torch.enable_grad():
        for _ in range(steps):
            optimiser.zero_grad()
            p, q = (torch.sigmoid(weights @ side.T + bias) for side in (x, y))
            ccs_loss(p, q).sum().backward()
            optimiser.step()
        p, q = (torch.sigmoid(weights @ side.T + bias) for side in (x, y))
        losses = ccs_loss(p, q).detach()
    best = int(losses.argmin())
    return CCS(weights.detach()[best], float(bias.detach()[best]), means, scale, float(losses[best]))
