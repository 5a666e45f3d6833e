"""What is measured: every edit at its dose, answers to test prompts, and the document that is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rhat.artifacts.files import made_by
from rhat.benching.answering import answers_of, moved_by, searched_for
from rhat.benching.beside import STAGE as BESIDE
from rhat.benching.damage import Beside, damage_of
from rhat.benching.document import BenchResults
from rhat.benching.dosing import STAGE, Dosed, dose_row, dosed, searched_topics
from rhat.benching.entries import Bench, Entry, Left, surroundings
from rhat.benching.making import Measured, comparisons_of, frontier_of
from rhat.benching.parts import TABLE
from rhat.benching.rows import Compared, Dose, LeftOut
from rhat.benching.settings import TASKS, BenchSettings
from rhat.benching.verdict import FAMILY, judged
from rhat.directions import Direction
from rhat.errors import StudyError
from rhat.executor import Executor
from rhat.lab import Lab
from rhat.lab.around import FINDING, lab_around, stage_timings
from rhat.lab.rows import rate_row, score_row
from rhat.model.chat import ChatModel
from rhat.model.work import counting
from rhat.prompts import ContrastSet
from rhat.scoring.pieces import Pieces
from rhat.selection.settings import FindSettings, Progress, silent
from rhat.selection.survey import Clock

CANDIDATES, ANSWERS = "what is compared", "answers"


@counting()
def bench(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    settings: BenchSettings | None = None,
    *,
    find_settings: FindSettings | None = None,
    progress: Progress = silent,
    executor: Executor | None = None,
    pieces: Pieces | None = None,
) -> BenchResults:
    """Every way to find and to move refusal, side by side at equal damage.

    Each edit is given the dose at which KL(unedited ‖ edited) of the next token on validation prompts is within 10 % of what is
    asked. Refusals are those that the default judge reads in answers to test prompts; each edit is compared with the difference of
    means added at the same KL, and a task's comparisons are adjusted together (Holm). What else each edit moves is measured
    against no edit: cross-entropy of neutral texts and of own answers, and capability. `direction` is r̂, which says layer and
    position; `pieces` keep what is done.

    Raises:
        DirectionError: if r̂ does not fit the model.
        StudyError: if the model hardly refuses, the prompts have none of a split that is needed, or the reference reaches no KL.
    """
    settings = settings or BenchSettings()
    clock = Clock()
    given = Bench(_lab(model, prompts, direction, settings, find_settings, progress, executor, pieces), settings)
    lab = given.lab
    clock.lap(FINDING)
    rows = _compare(given, clock) if settings.compares else {}
    rows |= _other_parts(given, clock, rows.pop("left_out", []))
    found = BenchResults.of(
        {
            "sentence": "",
            "sentences": (),
            "rhat_version": made_by(),
            "model": lab.model.describe(),
            "layer": lab.direction.layer,
            "position": lab.direction.position,
            "method": lab.direction.method,
            "prompts_fingerprint": prompts.fingerprint,
            "preset": settings.preset,
            "seed": settings.seed,
            "margin": settings.margin,
            "kl": settings.kls if settings.compares else (),
            "tasks": settings.tasks if settings.compares else (),
            "family": FAMILY if settings.compares else "none",
            **rows,
            "timings": stage_timings(lab, clock),
        }
    )
    return found.changed(**judged(found))


def _compare(given: Bench, clock: Clock) -> dict[str, Any]:
    """The rows of all that compares edits, and those of what is left out."""
    entries, left = _offered(given)
    clock.lap(CANDIDATES)
    doses, unreached = _doses(given, [entry for entry in entries if entry.same is None])
    clock.lap(STAGE)
    answers, unanswered = answers_of(given, doses)
    clock.lap(ANSWERS)
    moved = {} if given.settings.refusals_only else moved_by(given, doses)
    clock.lap(BESIDE)
    return {
        "compared": _compared(given, entries, answers),
        "left_out": [*left, *unreached, *unanswered],
        "doses": _dose_rows(given, doses),
        **_rows(answers, moved, given.settings),
    }


def _other_parts(given: Bench, clock: Clock, left: Sequence[LeftOut]) -> dict[str, Any]:
    """The fields of parts that compare no edits, and all that is left out, with those of them that cannot be measured here.

    Raises:
        StudyError: if there is nothing else in this bench.
    """
    found: dict[str, Any] = {"left_out": list(left)}
    for name in given.settings.only:
        make = TABLE[name].fields
        if make is None:
            continue
        try:
            found |= make(given)
        except StudyError as error:
            if not given.settings.compares:
                raise
            found["left_out"].append(LeftOut(part=name, name=name, reason=str(error)))
        clock.lap(name)
    return found


def _rows(answers: Measured, moved: Beside, settings: BenchSettings) -> dict[str, Any]:
    """The rows that follow from the answers, and from what else was measured."""
    comparisons, power = comparisons_of(answers, settings.kls, settings.margin)
    every = {(m.condition, m.label): m for by in answers.values() for some in by.values() for m in some.values()}
    return {
        "rates": [rate_row(m) for m in every.values()],
        "scores": [score_row(m) for m in every.values()],
        "damage": damage_of(answers, moved),
        "frontier": frontier_of(answers),
        "comparisons": comparisons,
        "power": power,
    }


def _dose_rows(given: Bench, doses: Mapping[str, Sequence[Dosed]]) -> list[Dose]:
    """Asked and achieved KL of every edit."""
    return [
        dose_row(searched_topics(given, TASKS[task]), one, TASKS[task]) for task, some in doses.items() for one in some
    ]


def _lab(
    model: ChatModel,
    prompts: ContrastSet,
    direction: Direction,
    settings: BenchSettings,
    find_settings: FindSettings | None,
    progress: Progress,
    executor: Executor | None,
    pieces: Pieces | None,
) -> Lab:
    """The model with r̂, what is known of its refusals, and the prompts.

    Raises:
        StudyError: if it hardly refuses.
    """
    return lab_around(
        model,
        prompts,
        direction,
        settings.sizes,
        purpose="compare",
        seed=settings.seed,
        margin=settings.margin,
        judged_tokens=settings.judged_tokens,
        find_settings=surroundings(settings, find_settings or FindSettings.read_as(direction)),
        progress=progress,
        executor=executor,
        pieces=pieces,
    )


def _offered(given: Bench) -> tuple[list[Entry], list[LeftOut]]:
    """The reference, what the parts offer, and random directions; and what they leave out."""
    entries, left = [given.reference], []
    for name in given.settings.only:
        offers = TABLE[name].edits
        for one in [] if offers is None else offers(given):
            if isinstance(one, Left):
                left.append(LeftOut(part=one.part, name=one.name, reason=one.reason))
            else:
                entries.append(one)
    return [*entries, *given.randoms], left


def _doses(given: Bench, entries: Sequence[Entry]) -> tuple[dict[str, list[Dosed]], list[LeftOut]]:
    """Task → what is compared at which dose, for the tasks that doses are searched for."""
    found, left = {}, []
    for name in dict.fromkeys(searched_for(TASKS[task]) for task in given.settings.tasks):
        found[name], missing = dosed(given, entries, TASKS[name])
        left += missing
    if not any(one.entry is given.reference for some in found.values() for one in some):
        raise StudyError(
            "no dose of the difference of means was found at which it does the damage that is asked for; ask for another --kl"
        )
    return found, left


def _compared(given: Bench, entries: Sequence[Entry], answers: Measured) -> list[Compared]:
    """What is compared, each once."""
    rows = {}
    for entry in entries:
        cosine = float(entry.unit.double() @ given.reference.unit.double())
        rows[entry.condition] = Compared(
            condition=entry.condition,
            part=entry.part,
            name=entry.name,
            site=f"resid_pre.{entry.layer}",
            cosine=None if entry.part == "control" else cosine,
            same_as=entry.same,
        )
    for by_label in answers.values():
        for by_name in by_label.values():
            for name in by_name:
                part, _, rest = name.partition(":")
                if part == "prompting":
                    rows[name] = Compared(condition=name, part=part, name=rest)
    return list(rows.values())
