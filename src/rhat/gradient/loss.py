"""The loss of a unit vector, and its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions import Direction
from rhat.gradient.passes import log_probabilities
from rhat.gradient.settings import GradientSettings
from rhat.gradient.targets import Targets
from rhat.interventions import Intervention
from rhat.interventions.intervention import DirectionEdit
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits, merge
from rhat.model.plans import TokenIds
from rhat.model.positions import Scope
from rhat.reprs import one_line
from rhat.vocabulary import OPERATORS

Said = Sequence[tuple[TokenIds, TokenIds]]


@dataclass(frozen=True)
class Terms:
    """The parts of the loss, nats a token, means over prompts.

    answer   cross-entropy of the answers to harmful prompts, ablated
    refusal  cross-entropy of the refusal after harmless prompts, added
    kl       KL(unedited ‖ ablated) along the unedited answers to harmless prompts
    total    answer + weight · refusal + weight · kl
    """

    answer: float
    refusal: float
    kl: float
    total: float

    __repr__ = one_line


@dataclass(frozen=True, eq=False, repr=False)
class Objective:
    """L(r) = CE(answer | harmful, r ablated) + 0.2 CE(refusal | harmless, + c r) + KL(unedited ‖ r ablated | harmless).

    Wollschläger et al. 2025, arXiv 2502.17420, with c the start's distance of means. Ablation is at every layer and all that is
    written, with the span of `beside` removed as well; addition is of r alone, at every token of the start's site.
    """

    model: ChatModel
    targets: Targets
    start: Direction
    settings: GradientSettings
    beside: Float[Tensor, "k d_model"]

    __repr__ = one_line

    def ablation(self, unit: Float[Tensor, " d_model"] | None) -> Edits:
        """Ablation of r and of what lies beside it; None: of that alone."""
        units = [*self.beside] if unit is None else [*self.beside, unit]
        sites = Intervention("ablate", self.start.unit, self.start.layer, 0.0, "all layers").sites(self.model.layout)
        every = [dict.fromkeys(sites, DirectionEdit(OPERATORS["ablate"], one, 0.0, Scope("all"))) for one in units]
        return merge(*every)

    def addition(self, unit: Float[Tensor, " d_model"]) -> Edits:
        """Addition of r, as long as the start's distance of means."""
        return {self.start.site: DirectionEdit(OPERATORS["add"], unit, self.start.norm, Scope("all"))}

    def parts(
        self, unit: Float[Tensor, " d_model"] | None, harmful: Sequence[int], harmless: Sequence[int]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
        """Cross-entropy of the answers, that of the refusal, and the KL, on some of the prompts; None: of no vector."""
        t, model = self.targets, self.model
        answers = [t.answers[i] for i in harmful]
        said = [t.refusals[i % len(t.refusals)] for i in harmless]
        kept = [t.kept[i % len(t.kept)] for i in harmless]
        ablated = self.ablation(unit)
        with torch.no_grad():
            before = log_probabilities(model, kept, {})
        after = log_probabilities(model, kept, ablated)
        kl = torch.stack([(b.exp() * (b - a)).sum(-1).mean() for b, a in zip(before, after, strict=True)]).mean()
        adding = {} if unit is None else self.addition(unit)
        return self._entropy(answers, ablated), self._entropy(said, adding), kl

    def loss(
        self, unit: Float[Tensor, " d_model"], harmful: Sequence[int], harmless: Sequence[int]
    ) -> tuple[Float[Tensor, ""], Terms]:
        """The loss, through which gradients flow to `unit`, and its parts."""
        answer, refusal, kl = self.parts(unit, harmful, harmless)
        return self._total(answer, refusal, kl), self._terms(answer, refusal, kl)

    @torch.no_grad()
    def whole(self, unit: Float[Tensor, " d_model"] | None) -> Terms:
        """The parts on all prompts; None: of no vector, with `beside` ablated."""
        t, n = self.targets, self.settings.batch
        weighted = torch.zeros(3, dtype=torch.float64)
        most = max(len(t.answers), len(t.refusals))
        for begin in range(0, most, n):
            bad, good = (range(begin, min(begin + n, len(some))) for some in (t.answers, t.refusals))
            parts = self._some(unit, bad, good)
            shares = torch.tensor([len(bad) / len(t.answers), *[len(good) / len(t.refusals)] * 2])
            weighted += shares.double() * parts
        return self._terms(*weighted)

    def _some(self, unit: Tensor | None, bad: range, good: range) -> Float[Tensor, " 3"]:
        """The parts on a batch; those of a kind that it lacks are of no weight."""
        answer, refusal, kl = self.parts(unit, bad or range(1), good or range(1))
        return torch.stack([answer, refusal, kl]).double().cpu()

    def _total(self, answer: Tensor, refusal: Tensor, kl: Tensor) -> Tensor:
        return answer + self.settings.addition * refusal + self.settings.retain * kl

    def _terms(self, answer: Tensor, refusal: Tensor, kl: Tensor) -> Terms:
        total = self._total(answer, refusal, kl)
        return Terms(*(float(part.detach()) for part in (answer, refusal, kl, total)))

    def _entropy(self, said: Said, edits: Edits) -> Float[Tensor, ""]:
        found = log_probabilities(self.model, said, edits)
        each = []
        for logs, (_, tokens) in zip(found, said, strict=True):
            wanted = torch.tensor(list(tokens), device=logs.device)
            each.append(-logs.gather(-1, wanted[:, None]).mean())
        return torch.stack(each).mean()
