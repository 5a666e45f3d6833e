"""How a gradient direction is searched for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from rhat.errors import ContrastError
from rhat.reprs import one_line

MOST = 5  # the largest dimension of a cone, as in the paper


@dataclass(frozen=True)
class GradientSettings:
    """How the sphere is searched; the weights are those of Wollschläger et al. 2025 (arXiv 2502.17420), the rest is chosen here.

    steps     steps of Riemannian Adam
    rate      length of the first step, radians; it falls linearly to 0
    batch     harmful prompts, and as many harmless ones, in each step
    tokens    tokens of an answer that are its target, at most
    refusing  tokens of a refusal that are its target, at most
    addition  weight of the cross-entropy of a refusal under addition
    retain    weight of the KL on harmless prompts under ablation
    samples   vectors of the cone that are drawn in each step, where there is more than one dimension
    start     "given": at the direction that is given; "random": at a random one
    seed      of the start, the batches and the samples

    Raises:
        ContrastError: if a number is outside what it may be.
    """

    steps: int = 100
    rate: float = 0.1
    batch: int = 8
    tokens: int = 16
    refusing: int = 8
    addition: float = 0.2
    retain: float = 1.0
    samples: int = 4
    start: Literal["given", "random"] = "given"
    seed: int = 0

    __repr__ = one_line

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "tokens", "refusing", "samples"):
            if getattr(self, name) < 1:
                raise ContrastError(f"gradient: got {name} {getattr(self, name)}, expected 1 or more")
        if not (math.isfinite(self.rate) and 0 < self.rate < math.pi / 2):
            raise ContrastError(f"gradient: got a rate of {self.rate}, expected radians between 0 and π/2, such as 0.1")
        for name in ("addition", "retain"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ContrastError(f"gradient: got the weight {name} {getattr(self, name)}, expected 0 or more")
        if self.start not in ("given", "random"):
            raise ContrastError(f"gradient: got the start {self.start!r}, expected given or random")
