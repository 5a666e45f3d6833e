"""Dosing: the dose of every entry at which it does the damage that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rhat.benching.courses import WITHIN, Course, nearest
from rhat.benching.entries import Bench, Entry
from rhat.benching.rows import Dose, LeftOut
from rhat.benching.settings import Task
from rhat.errors import InterventionError, StudyError
from rhat.interventions import Intervention
from rhat.lab.matching import best_of, search_doses
from rhat.lab.measurement import Treatment, topics_of
from rhat.reprs import one_line
from rhat.statistics import mean_interval
from rhat.vocabulary import OPERATORS

CLOSE = 0.08  # |log(KL / asked)| at which a search ends: well within 10 %
ROUNDS = 9
STAGE = "doses of equal KL"


@dataclass(frozen=True, eq=False)
class Dosed:
    """An entry at the dose that makes the KL that was asked for.

    achieved  KL of each prompt of the search, nats
    """

    entry: Entry
    course: Course
    kl: float
    amount: float
    achieved: Float[np.ndarray, " n"]

    __repr__ = one_line

    @property
    def condition(self) -> str:
        """Its condition id, with the KL."""
        return at(self.entry.condition, self.kl)

    @property
    def treatment(self) -> Intervention:
        """The edit."""
        return self.entry.at(self.course, self.amount)


def at(condition: str, kl: float) -> str:
    """A condition id with the KL it is matched at."""
    return f"{condition}@{kl:g}"


def dosed(bench: Bench, entries: Sequence[Entry], task: Task) -> tuple[list[Dosed], list[LeftOut]]:
    """Every entry at every KL on the task's validation prompts, and what no dose was found for.

    The KL are searched from the smallest on; what was tried for one is where the search for the next begins.
    """
    lab, found, left = bench.lab, [], []
    going: list[tuple[Entry, Course]] = []
    for entry in entries:
        try:
            going.append((entry, bench.course(entry, task)))
        except InterventionError as error:
            left.append(LeftOut(part=entry.part, name=entry.name, task=task.name, reason=str(error)))  # type: ignore[arg-type]
    n = min(bench.settings.size.searched, len(lab.finding.kept["validation"][task.label]))
    if n < 2:
        raise StudyError(
            f"{lab.prompts.name}: got {n} {task.label} validation prompt{'s' * (n != 1)} on which the model behaves as labelled, expected "
            "2 or more; give more prompts of that label"
        )

    def measure(treatments: Sequence[Treatment]) -> list[np.ndarray]:
        scored = lab.score_conditions(treatments, task.label, n, "validation", kl=True, stage=f"{STAGE}, {task.name}")
        return [kl for _, kl in scored if kl is not None]

    makers = [lambda amount, e=entry, c=course: e.at(c, amount) for entry, course in going]
    first, room = [course.first for _, course in going], [course.room for _, course in going]
    tried: list[dict[float, np.ndarray]] = [{} for _ in going]
    for kl in bench.settings.kls:
        tried = search_doses(measure, makers, first, kl, rounds=ROUNDS, close=CLOSE, most=room, tried=tried)
        for (entry, course), points in zip(going, tried, strict=True):
            best = best_of(points, kl)
            if abs(best.kl / kl - 1) <= WITHIN:
                found.append(Dosed(entry, course, kl, best.dose, points[best.dose]))
            else:
                reason = nearest(course, points, kl)
                left.append(LeftOut(part=entry.part, name=entry.name, task=task.name, kl=kl, reason=reason))  # type: ignore[arg-type]
    return found, left


def dose_row(lab_topics: Sequence[str], one: Dosed, task: Task) -> Dose:
    """The dose of an entry, with the KL that it makes."""
    reached = mean_interval(one.achieved, groups=list(lab_topics))
    parameter = OPERATORS[one.course.op].parameter
    assert parameter is not None
    return Dose(
        condition=one.condition,
        task=task.name,  # type: ignore[arg-type]
        prompts=task.label,
        seed=one.entry.seed,
        op=one.course.op,
        parameter=parameter.name,
        dose=one.course.number(one.amount),
        kl=one.kl,
        kl_mean=reached.estimate,
        ci_low=reached.low,
        ci_high=reached.high,
        n=reached.n,
        within=abs(reached.estimate / one.kl - 1) <= WITHIN,
    )


def searched_topics(bench: Bench, task: Task) -> tuple[str, ...]:
    """The topics of the prompts of a task's search."""
    kept = bench.lab.finding.kept["validation"][task.label]
    return topics_of(kept[: bench.settings.size.searched])
