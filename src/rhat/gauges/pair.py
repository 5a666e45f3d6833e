"""The two directions, each set to the other side's mean, and random directions as controls."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.directions import Direction, random_direction
from rhat.errors import StudyError
from rhat.gauges.making import SIDES
from rhat.interventions import Intervention, set_projection
from rhat.lab import Lab
from rhat.reprs import one_line
from rhat.selection.finding import direction_at
from rhat.sites import Site

TRAINED = 256  # training prompts of each label of which the harmfulness direction is made
RANDOMS = 5  # random directions; each prompt gets one of them


@dataclass(frozen=True, eq=False)
class Pair:
    """Harmfulness at the instruction's last token, refusal at the template's; Zhao et al. 2025, arXiv 2507.11878."""

    harmfulness: Direction
    refusal: Direction

    __repr__ = one_line

    def set_on(self, label: str) -> dict[str, Intervention]:
        """Each gauge set to the other side's mean, at every token of its layer; each moves by the distance of its own two means."""
        return {
            name: set_projection(gauge, gauge.mean_harmless if label == "harmful" else gauge.mean_harmful)
            for name, gauge in (("harmfulness", self.harmfulness), ("refusal", self.refusal))
        }

    def random_on(self, lab: Lab, label: str) -> tuple[Intervention, ...]:
        """Random directions orthogonal to both, moved as far as the gauge whose means lie further apart, from the mean of such
        training prompts where the refusal gauge is read."""
        layer = self.refusal.layer
        gaps = [gauge.mean_harmful - gauge.mean_harmless for gauge in (self.harmfulness, self.refusal)]
        moved = max(gaps) * (-1.0 if label == "harmful" else 1.0)
        means = lab.means.harmful if label == "harmful" else lab.means.harmless
        mean = means[layer, lab.means.positions.index(self.refusal.position)].double()
        return tuple(
            Intervention("set_projection", unit, layer, float(mean @ unit.double()) + moved)
            for unit in self._random_units(lab)
        )

    def _random_units(self, lab: Lab) -> list[Float[Tensor, " d_model"]]:
        both = torch.stack([self.harmfulness.unit.double(), self.refusal.unit.double()], 1)
        basis = torch.linalg.qr(both)[0]
        found = []
        for i in range(RANDOMS):
            drawn = random_direction(lab.model.d_model, lab.seed * 1000 + i).double()
            left = drawn - basis @ (basis.T @ drawn)
            found.append((left / left.norm()).float())
        return found


def pair_of(lab: Lab, layer: int | None = None) -> Pair:
    """The two directions of a model; that of harmfulness at `layer`, or at r̂'s.

    Raises:
        StudyError: if r̂ was found before the template.
        SiteError: if there is no such layer.
        ContrastError: if the two means are the same.
    """
    last = -lab.model.template_length - 1
    r = lab.direction
    if r.position == last:
        raise StudyError(
            f"direction at position {r.position}: expected one found at a template token, {last + 1} to -1, because harmfulness is "
            "read at the instruction's last token; find r̂ without --instruction-token"
        )
    site = Site("resid_pre", r.layer if layer is None else layer).within(lab.model.n_layers)
    some = [lab.prompts.select(label, "train", TRAINED) for label in SIDES]  # type: ignore[arg-type]
    harmful, harmless = (lab.activations(of, [site.layer], last)[:, 0] for of in some)
    fingerprint = lab.prompts.fingerprint
    harm = Direction.from_groups(
        harmful, harmless, site, position=last, model=lab.model.describe(), prompts=fingerprint
    )
    return Pair(harm, r if r.position == -1 else direction_at(lab.model, lab.means, r.layer, -1, fingerprint))
