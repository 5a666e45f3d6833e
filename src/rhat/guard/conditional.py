"""Conditional interventions: read the prompt first, then edit only where its projection says so.

The gate needs the prompt's last tokens, and the edit may reach its first ones and blocks below, so there are two passes:
`opens` reads the unedited prompt; what it says decides whether the edits are on from the first token. Where the edits are at
the gate's layer or above, one pass over the whole prompt will do: `edits` and `on` decide on the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rhat.directions import Direction
from rhat.errors import InterventionError
from rhat.guard.gate import Gate, GatedEdit, WholeRead
from rhat.guard.reading import check_position, check_prefix, prompt_projections
from rhat.interventions import AnyIntervention, Intervention, set_projection
from rhat.interventions.intervention import Applied
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits, merge
from rhat.model.layout import Layout
from rhat.model.plans import TokenIds

SIDES = ("above", "below")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False, repr=False)
class Conditional(Applied):
    """An intervention on prompts whose projection on `direction` is above (>) or below (≤) the threshold only."""

    intervention: AnyIntervention
    direction: Direction
    threshold: float
    when: str = "above"

    def __post_init__(self) -> None:
        if self.when not in SIDES:
            raise InterventionError(f"when {self.when!r}: expected 'above' or 'below' the threshold")
        if not math.isfinite(self.threshold):
            raise InterventionError(
                f"threshold: got {self.threshold}, expected a finite number; calibrate it with `rhat calibrate`"
            )

    def opens_at(self, projections: ArrayLike) -> NDArray[np.bool_]:
        """Whether the gate opens for prompts with these projections.

        Raises:
            InterventionError: if a projection is not finite: it is on neither side of the threshold.
        """
        values = np.asarray(projections, dtype=float)
        if not np.isfinite(values).all():
            raise InterventionError(
                f"projections: got {int((~np.isfinite(values)).sum())} of {values.size} that are not finite, expected "
                "numbers; load the model with a wider dtype"
            )
        above = values > self.threshold
        return above if self.when == "above" else ~above

    def opens(self, model: ChatModel, prompts: Sequence[TokenIds]) -> NDArray[np.bool_]:
        """Whether the gate opens for each tokenised prompt: the first of the two passes."""
        return self.opens_at(prompt_projections(model, self.direction, prompts))

    def edits(self, model: ChatModel) -> Edits:
        """Edits that read the gate on the way, in passes over whole prompts.

        Raises:
            DirectionError: if the direction does not fit the model or its chat template.
            InterventionError: if the intervention acts before the gate's site: only two passes can do that.
        """
        check_prefix(model, self.direction)
        check_position(model, self.direction)
        gate, inner = Gate(self.direction, self.opens_at), self.intervention.edits(model)
        before = [site for site in inner if site.layer < self.direction.layer]
        if before:
            raise InterventionError(
                f"conditional: acts at {before[0]}, before the gate at {self.direction.site} is read; give it to rhat.logits "
                "or model.generate as intervention=, which read the prompt first"
            )
        gated: Edits = {site: GatedEdit(edit, gate) for site, edit in inner.items()}
        return merge({self.direction.site: WholeRead(gate.read)}, gated)

    def per_prompt(self, model: ChatModel, prompts: Sequence[TokenIds]) -> list[Edits | None]:
        """Each prompt's own edits, as `generate_tokens(edits_per_prompt=…)` takes them; None where the gate stays shut."""
        on = self.intervention.edits(model)
        return [on if open_ else None for open_ in self.opens(model, prompts).tolist()]

    def describe(self, layout: Layout | None = None) -> dict[str, Any]:
        """What results.json says of the condition; given a model's layout, also where ablation does not reach in it."""
        inner = self.intervention.describe(layout) if isinstance(self.intervention, Intervention) else {}
        return {**inner, "when": self.when, "threshold": self.threshold}

    def __repr__(self) -> str:
        return f"Conditional({self.intervention!r}, {self.when} {self.threshold:.4g} at {self.direction.site})"


def strengthen(direction: Direction, threshold: float) -> Conditional:
    """Set the projection to the harmful mean, for prompts above the threshold: the model refuses them firmly."""
    return Conditional(set_projection(direction, direction.mean_harmful), direction, threshold, "above")


def relax(direction: Direction, threshold: float) -> Conditional:
    """Set the projection to the harmless mean, for prompts at or under the threshold: less over-refusal."""
    return Conditional(set_projection(direction, direction.mean_harmless), direction, threshold, "below")


def by_gate(
    opens: Sequence[bool] | NDArray[np.bool_],
    prompts: Sequence[TokenIds],
    edits: Edits,
    run: Callable[[Sequence[TokenIds], Edits | None], Sequence[Result]],
) -> list[Result]:
    """`run` on the prompts whose gate opens with `edits`, and on the others without; results in the prompts' order.

    For measures that take one intervention for all their prompts, such as log-odds and refusal rates.
    """
    found: dict[int, Result] = {}
    for which, applied in ((True, edits), (False, None)):
        members = [i for i, open_ in enumerate(opens) if bool(open_) is which]
        if members:
            results = run([prompts[i] for i in members], applied)
            found.update(zip(members, results, strict=True))
    return [found[i] for i in range(len(prompts))]
