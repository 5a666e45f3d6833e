"""What is measured of every edit at its dose: answers to test prompts, and what else it moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rhat.benching.beside import STAGE as BESIDE
from rhat.benching.beside import beside, conditions_of
from rhat.benching.damage import Beside
from rhat.benching.dosing import Dosed, at
from rhat.benching.entries import Bench
from rhat.benching.making import Measured
from rhat.benching.parts import TABLE
from rhat.benching.rows import LeftOut
from rhat.benching.settings import TASKS, Task
from rhat.errors import StudyError
from rhat.lab.measurement import KL_PROMPTS, Measurement, RotatedControls, Treatment
from rhat.model.template import ChatPrompt


def searched_for(task: Task) -> str:
    """The task whose doses a task has: those of inducing, where edits move answers towards refusal."""
    return next(one.name for one in TASKS.values() if (one.label, one.side, one.op) == (task.label, task.side, task.op))


def answers_of(given: Bench, doses: Mapping[str, Sequence[Dosed]]) -> tuple[Measured, list[LeftOut]]:
    """Task → label → condition → its answers to test prompts; each prompt gets one of the random directions."""
    lab, found, left = given.lab, {}, []
    for name in given.settings.tasks:
        task = TASKS[name]
        by_label: dict[str, dict[str, Measurement]] = {}
        treatments, seen = treatments_of(given, doses[searched_for(task)], task)
        left += seen
        for label in task.tested:
            n = lab.sizes.tested(label)
            if not lab.test(label):
                continue
            by_label[label] = lab.measure_conditions(treatments, label, n, kl=True, stage=f"answers, {label}")
            base = by_label[label]["baseline"]  # nothing is done: what rounding leaves between two passes is no damage
            by_label[label]["baseline"] = replace(base, kl=np.zeros(len(base.prompt_ids[:KL_PROMPTS])))
            for part in given.settings.only:
                asked = TABLE[part].answers
                if asked is not None and name in (TABLE[part].tasks or TASKS):
                    answered, missing = asked(given, label, n)
                    by_label[label] |= answered
                    left += [LeftOut(part=one.part, name=one.name, task=name, reason=one.reason) for one in missing]  # type: ignore[arg-type]
        if not by_label:
            left.append(LeftOut(part="task", name=name, reason=f"there are no {' or '.join(task.tested)} test prompts"))
        found[name] = by_label
    if not any(found.values()):
        raise StudyError(f"{lab.prompts.name}: got no test prompts; give more prompts of each label")
    return found, left


def treatments_of(
    given: Bench, doses: Sequence[Dosed], task: Task
) -> tuple[dict[str, Treatment | RotatedControls], list[LeftOut]]:
    """Condition → what is done, without edits first; and what has seen these test prompts."""
    treatments: dict[str, Treatment | RotatedControls] = {"baseline": None}
    dealt: dict[float, list[Treatment]] = {}
    left = []
    for one in doses:
        if one.entry.part == "control":
            dealt.setdefault(one.kl, []).append(one.treatment)
        elif set(one.entry.seen) & set(task.tested):
            reason = "was found on some of these test prompts"
            left.append(LeftOut(part=one.entry.part, name=one.entry.name, task=task.name, kl=one.kl, reason=reason))  # type: ignore[arg-type]
        else:
            treatments[one.condition] = one.treatment
    treatments |= {at(given.randoms[0].condition, kl): RotatedControls(tuple(some)) for kl, some in dealt.items()}
    return treatments, left


def moved_by(given: Bench, doses: Mapping[str, Sequence[Dosed]]) -> Beside:
    """Task whose doses they are → measure → condition → values, of what is measured beside refusal."""
    found = {}
    for name, some in doses.items():
        task = TASKS[name]
        treatments, _ = treatments_of(given, some, task)
        asked: dict[str, Callable[[str], ChatPrompt]] = {}
        for part in (TABLE[one] for one in given.settings.only):
            if part.asking is not None and name in (part.tasks or TASKS):
                asked |= part.asking(given)
        found[name] = beside(given, conditions_of(given, treatments, asked), f"{BESIDE}, {name}")
    return found
