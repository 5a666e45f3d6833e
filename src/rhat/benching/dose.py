"""The dose of one edit that does a given damage, with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from rhat.artifacts.files import made_by
from rhat.benching.courses import WITHIN, Course, angle_to, course_of, side_of, unreached
from rhat.benching.rows import CalibratedDose, TriedDose
from rhat.benching.words import dose_sentence
from rhat.capture import activations
from rhat.directions import Direction
from rhat.errors import StudyError
from rhat.executor import Executor, SerialExecutor
from rhat.interventions import Intervention, intervene
from rhat.interventions.intervention import Where
from rhat.lab.matching import Measure, Tried, best_of, search_doses
from rhat.lab.measurement import Treatment, topics_of
from rhat.model.chat import ChatModel
from rhat.prompts import ContrastSet, Label, Prompt
from rhat.scoring import tasks
from rhat.scoring.keeping import Keeping
from rhat.scoring.pieces import Pieces
from rhat.selection.borderline import thirds
from rhat.selection.settings import Progress, silent
from rhat.statistics import Interval, crossing_dose, mean_interval
from rhat.vocabulary import OPERATORS, SCOPES, Side

CLOSE = math.log1p(WITHIN) / 2  # of a search: well inside
ROUNDS = 10
AROUND = (0.7, 0.85, 1.2, 1.4)  # times the dose that was found: where the curve is read for the interval
PROMPTS = 64


def prompts_for(prompts: ContrastSet, label: Label, n: int) -> tuple[tuple[Prompt, ...], str]:
    """The first n validation prompts of a label, and which they are in words; of borderline ones that are all test prompts, the second
    of every three topics.

    Raises:
        StudyError: if there are fewer than two.
    """
    some, said = prompts.select(label, "validation"), "validation"
    if not some and label == "borderline":
        some, said = thirds(prompts.select(label, "test"))["validation"], "test"
    if len(some) < 2:
        raise StudyError(
            f"{prompts.name}: got {len(some)} {label} validation prompts, expected 2 or more; give more prompts of that label"
        )
    return some[:n], said


def kl_measure(model: ChatModel, some: Sequence[Prompt], layer: int, executor: Executor, progress: Progress) -> Measure:
    """What gives KL(unedited ‖ edited) of the next token after each of these prompts, nats, float64."""
    plan = model.plan([p.text for p in some])
    asked = tasks.Scoring(plan.prompts, (0,), (layer,), True)  # of some token: only KL is read

    def measure(treatments: Sequence[Treatment]) -> list[np.ndarray]:
        edits = [{} if treatment is None else treatment.edits(model) for treatment in treatments]  # type: ignore[union-attr]
        found = tasks.score_all(
            executor,
            model,
            asked,
            plan,
            edits,
            executor.split(len(plan.batches)),
            progress=lambda done, total: progress("doses", done, total),
        )
        return [kl.numpy() for _, kl in found if kl is not None]

    return measure


def calibrate_dose(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    op: str = "add",
    kl: float = 0.2,
    *,
    label: Label = "harmless",
    towards: Side | None = None,
    scope: str = "all",
    where: Where | None = None,
    n: int = PROMPTS,
    seed: int = 0,
    progress: Progress = silent,
    executor: Executor | None = None,
    pieces: Pieces | None = None,
) -> CalibratedDose:
    """The number of an operator at which the mean KL(unedited ‖ edited) of the next token on validation prompts is `kl` nats.

    The dose is searched for, then KL is measured at four doses around it; the mean curve through them, straight in log dose and log
    KL, is crossed at `kl`. The dose's 95 % interval is that of a bootstrap of prompts by topic (`rhat.statistics.crossing_dose`), that
    of the KL achieved at it of a mean by topic. Doses are amounts above the number at which nothing changes (`rhat.vocabulary.Way`).

    Raises:
        InterventionError: if the operator takes no number or does not go that way.
        StudyError: if no dose makes that KL, with what can be reached; if `kl` is no number above 0; if the scope holds no tokens of
            the prompt; or there are too few prompts.
        DirectionError: if the direction does not fit the model, or a mean is needed that nobody measured.
    """
    _check_asked(kl, scope)
    direction.check_fits(model)
    side = towards or side_of(op, label)
    course = course_of(op, direction, label, side)
    model = model.for_direction(direction)
    some, split = prompts_for(prompts, label, n)
    parameter = OPERATORS[op].parameter
    if parameter is not None and parameter.unit == "degrees":
        texts = [p.text for p in some]
        at = activations(model, texts, direction.site, direction.position)[:, 0]
        course = course_of(op, direction, label, side, angle_to(direction.unit, at))

    def edit(amount: float) -> Intervention:
        return intervene(op, direction, value=course.number(amount), scope=scope, where=where)

    done = executor or SerialExecutor()
    done = done if pieces is None else Keeping(done, pieces)
    measure = kl_measure(model, some, direction.layer, done, progress)
    tried = _searched(measure, edit, course, kl)
    if not best_of(tried, kl, CLOSE).close:
        raise StudyError(unreached(op, course, tried, kl, f"{len(some)} {label} {split} prompts"))
    topics = topics_of(some)
    amount = _crossed(tried, kl, topics, seed)
    best = min(amount.estimate, course.room)
    if best not in tried:
        [tried[best]] = measure([edit(best)])
    asked: dict[str, Any] = {"kl": kl, "prompts": label, "split": split, "scope": scope, "seed": seed}
    asked |= {"rhat_version": made_by(), "model": model.describe(), "prompts_fingerprint": prompts.fingerprint}
    asked["sites"] = str(edit(best).describe(model.layout)["sites"])
    made = CalibratedDose.of(asked | _row(course, tried, best, amount, topics, kl))
    return made.changed(sentence=dose_sentence(made))


def _check_asked(kl: float, scope: str) -> None:
    """Raise unless this KL can be asked for, of edits that can move the next token."""
    if not (math.isfinite(kl) and kl > 0):
        raise StudyError(f"kl: got {kl}, expected a number of nats above 0, such as 0.2")
    kind = SCOPES.get(scope.partition(":")[0])
    if kind is not None and kind.first(0, 1) >= 1:  # after a prompt of one token
        raise StudyError(
            f"scope {scope!r}: got tokens of the answer alone, expected tokens of the prompt among them, such as all: KL is measured on the "
            "next token after the prompt, which comes before them"
        )


def _searched(
    measure: Measure, edit: Callable[[float], Intervention], course: Course, kl: float
) -> dict[float, Float[np.ndarray, " n"]]:
    """What was tried until one dose came close, and then around it."""
    [tried] = search_doses(measure, [edit], [course.first], kl, rounds=ROUNDS, close=CLOSE, most=[course.room])
    found = best_of(tried, kl, CLOSE)
    if found.close:
        around = [found.dose * factor for factor in AROUND if found.dose * factor <= course.room]
        tried |= dict(zip(around, measure([edit(dose) for dose in around]), strict=True))
    return tried


def _crossed(tried: Tried, kl: float, topics: Sequence[str], seed: int) -> Interval:
    """The amount at which the mean curve through the doses around the best one reaches the KL."""
    best = best_of(tried, kl).dose
    near = sorted(dose for dose in tried if AROUND[0] * 0.9 <= dose / best <= AROUND[-1] * 1.1)
    return crossing_dose(near, np.stack([tried[dose] for dose in near]), kl, list(topics), seed=seed)


def _row(
    course: Course, tried: Tried, best: float, amount: Interval, topics: Sequence[str], kl: float
) -> dict[str, Any]:
    """The dose with its interval, the KL that it makes, and what else was tried."""
    parameter = OPERATORS[course.op].parameter
    assert parameter is not None
    reached = mean_interval(tried[best], groups=list(topics))
    low, high = sorted(course.number(min(end, course.room)) for end in (amount.low, amount.high))
    return {
        "sentence": "",
        "op": course.op,
        "parameter": parameter.name,
        "unit": parameter.unit or None,
        "towards": course.side,
        "dose": course.number(best),
        "dose_ci_low": low,
        "dose_ci_high": high,
        "kl_mean": reached.estimate,
        "ci_low": reached.low,
        "ci_high": reached.high,
        "within": abs(reached.estimate / kl - 1) <= WITHIN,
        "n": reached.n,
        "clusters": len(set(topics)),
        "tried": [
            TriedDose(dose=course.number(dose), kl_mean=float(values.mean())) for dose, values in sorted(tried.items())
        ],
    }
