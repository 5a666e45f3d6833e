"""Entries: what a bench compares. Each is an edit with a dose; what cannot be one is left out, with the reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from rhat.benching.courses import Course, angle_to, course_along
from rhat.benching.settings import BenchSettings, Task
from rhat.directions import mean_difference
from rhat.errors import ContrastError, InterventionError
from rhat.interventions import Intervention
from rhat.interventions.intervention import Where
from rhat.lab import Lab
from rhat.prompts import Prompt
from rhat.reprs import one_line
from rhat.selection.settings import FindSettings
from rhat.selection.survey import SIDES
from rhat.vocabulary import OPERATORS, PRESETS

ROWS = 256  # kept training prompts of each label that finders are given
SAME = 1 - 1e-6  # cosine above which two directions are one


@dataclass(frozen=True, eq=False)
class Entry:
    """An edit that is given a dose.

    part, name  where it belongs, and what it is called there: `part:name` is its condition
    unit        its direction
    layer       where it acts
    op          what is done with the direction; "": it is put in as the task says, added or subtracted
    seed        of a random one
    same        the condition whose direction and place it shares, which is measured in its place
    seen        labels whose test prompts took part in finding it
    """

    part: str
    name: str
    unit: Float[Tensor, " d_model"]
    layer: int
    op: str = ""
    seed: int | None = None
    same: str | None = None
    seen: tuple[str, ...] = ()

    __repr__ = one_line

    @property
    def condition(self) -> str:
        """Its condition id, without a KL."""
        return f"{self.part}:{self.name}"

    def at(self, course: Course, amount: float) -> Intervention:
        """The edit at a dose, where its operator acts."""
        where: Where = "all layers" if OPERATORS[course.op].everywhere else "own layer"
        return Intervention(course.op, self.unit, self.layer, course.number(amount), where)


@dataclass(frozen=True)
class Left:
    """What is left out, and why."""

    part: str
    name: str
    reason: str

    __repr__ = one_line


Offered = Entry | Left


@dataclass(eq=False)
class Bench:
    """What the parts of a bench are given: the lab, the settings, and activations at r̂'s place, which are read once."""

    lab: Lab
    settings: BenchSettings

    __repr__ = one_line

    @cached_property
    def rows(self) -> tuple[Float[Tensor, "n d_model"], Float[Tensor, "m d_model"]]:
        """resid_pre of kept harmful and harmless training prompts at r̂'s layer and position, float32."""
        harmful, harmless = (self.read(self.lab.finding.kept["train"][label][:ROWS]) for label in SIDES)
        return harmful, harmless

    def read(self, prompts: Sequence[Prompt]) -> Float[Tensor, "n d_model"]:
        """resid_pre of prompts at r̂'s layer and position, float32."""
        return self.lab.activations(prompts, [self.lab.direction.layer])[:, 0]

    @cached_property
    def reference(self) -> Entry:
        """The difference of means at r̂'s layer and position: what everything is compared with."""
        found = unit_of(mean_difference(*self.rows))
        return Entry("finder", "mean_difference", found, self.lab.direction.layer)

    def is_reference(self, unit: Float[Tensor, " d_model"], layer: int) -> bool:
        """Whether a direction is the reference's, at its place."""
        return layer == self.reference.layer and float(unit.double() @ self.reference.unit.double()) > SAME

    @cached_property
    def randoms(self) -> list[Entry]:
        """Random directions orthogonal to r̂, at its layer: chance."""
        return [
            Entry("control", "random", unit, self.lab.direction.layer, seed=self.lab.seed * 1000 + i)
            for i, unit in enumerate(self.lab.random_units())
        ]

    def course(self, entry: Entry, task: Task) -> Course:
        """How an entry's number goes in a task, from what the task's prompts have.

        Raises:
            InterventionError: if its operator does not go that way.
        """
        if not entry.op:
            return Course(task.op, task.side, 0.0, abs(self.lab.gap) or 1.0)
        course = course_along(entry.op, self.lab.direction, task.label, task.side, self._angle(task.label))
        if course.room <= 0:
            raise InterventionError(f"moves towards {'answers' if task.side == 'refusal' else 'refusal'} only")
        return course

    def _angle(self, label: str) -> float:
        """The angle, in degrees, of these prompts' mean training activation to r̂."""
        return angle_to(self.lab.direction.unit, self.rows[0] if label == "harmful" else self.rows[1])


def unit_of(vector: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
    """A vector at length 1, float32 on the CPU.

    Raises:
        ContrastError: if it has no length.
    """
    wide = vector.double().cpu()
    length = float(wide.norm())
    if not (math.isfinite(length) and length > 0):
        raise ContrastError(f"got a vector of length {length}, expected one that points somewhere")
    return (wide / length).float()


def surroundings(settings: BenchSettings, given: FindSettings) -> FindSettings:
    """How what stands beside r̂ is found again: as `given`, on as many prompts as the preset has."""
    known = PRESETS[settings.preset]
    few = given.token_prompts if known.train is None else min(given.token_prompts, known.train // 4)
    return replace(
        given,
        train=given.train or known.train,
        validation=given.validation or known.validation,
        token_prompts=few,
        judged_tokens=settings.judged_tokens,
    )
