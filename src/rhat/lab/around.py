"""A lab around a direction that is known already."""

from __future__ import annotations

from dataclasses import replace

from rhat.artifacts.header import Timing
from rhat.directions import Direction
from rhat.errors import StudyError
from rhat.executor import Executor, SerialExecutor
from rhat.lab.lab import Lab
from rhat.model.chat import ChatModel
from rhat.prompts import ContrastSet
from rhat.scoring.keeping import Keeping
from rhat.scoring.pieces import Pieces
from rhat.selection.given_direction import finding_for
from rhat.selection.settings import FindSettings, Progress, silent
from rhat.selection.survey import Clock
from rhat.vectors import adopt
from rhat.vocabulary import JUDGED_TOKENS, Preset

FINDING = "finding"
"""The stage of a clock in which a lab is made."""


def lab_around(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    sizes: Preset,
    *,
    purpose: str,
    seed: int = 0,
    margin: float = 0.10,
    judged_tokens: int = JUDGED_TOKENS,
    find_settings: FindSettings | None = None,
    progress: Progress = silent,
    executor: Executor | None = None,
    pieces: Pieces | None = None,
) -> Lab:
    """The model with r̂, what is known of its refusals, and the prompts; means of r̂ that nobody measured are measured.

    `purpose` is what the lab is for, as a verb: "audit". `pieces` keep what is done.

    Raises:
        StudyError: if the model hardly refuses, so that there is nothing to do it to.
    """
    if None in direction.means:
        direction, finding = adopt(model, prompts, direction, find_settings, progress=progress, pieces=pieces)
    else:
        finding = finding_for(model, prompts, direction, find_settings, progress=progress, pieces=pieces)
    if finding.direction is None or finding.means is None:
        raise StudyError(f"nothing to {purpose}: {finding.sentence}")
    done = executor or SerialExecutor()
    return Lab(
        model.with_response_prefix(finding.response_prefix),
        prompts,
        replace(finding, direction=direction),
        sizes,
        seed,
        margin,
        progress,
        done if pieces is None else Keeping(done, pieces),
        judged_tokens=judged_tokens,
    )


def stage_timings(lab: Lab, clock: Clock) -> list[Timing]:
    """Seconds and work of the stages: those of the survey one by one in place of `FINDING`, then the clock's others."""
    work = dict(lab.finding.work) | clock.work
    stages = [*lab.finding.timings, *(one for one in clock.stages if one[0] != FINDING)]
    return [Timing.of({"stage": name, "seconds": seconds, **work.get(name, {})}) for name, seconds in stages]
