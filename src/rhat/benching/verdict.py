"""What a bench says, in plain sentences; everything is read from its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rhat.artifacts.rows import Comparison
from rhat.benching import moved
from rhat.benching.document import BenchResults
from rhat.benching.making import RANDOM, REFERENCE, kl_of
from rhat.benching.settings import TASKS, Task
from rhat.benching.words import DOING, called
from rhat.display import wording
from rhat.display.wording import PROMPTS, count, interval, number, points

FAMILY = (
    "bench_induce, bench_remove, bench_over_refusal: every edit − the difference of means at the same KL, on each kind of test prompts "
    "of that task and at every KL, adjusted together (Holm; of each the difference and both margins); bench_controls: the difference of "
    "means − no edit, − random directions, and random directions − no edit, in all tasks, adjusted together likewise; damage: every condition − no edit, of each task at every KL "
    "and by every measure, adjusted together likewise (means have no margin)"
)


def judged(found: BenchResults) -> dict[str, Any]:
    """The fields `sentence` and `sentences` of a bench, from its rows."""
    said = [
        sentence
        for task in found.tasks
        for kl in found.kl
        for label in TASKS[task].tested
        for sentence in _at(found, TASKS[task], kl, label)
    ]
    gauges = () if found.gauges is None else (found.gauges.sentence, *found.gauges.sentences)
    if not found.tasks:
        return {"sentence": gauges[0] if gauges else "Nothing was measured.", "sentences": gauges[1:]}
    return {"sentence": _short(found), "sentences": (*said, *moved.sentences(found), *_rests_on(found), *gauges)}


NAMED = 4  # edits that the first sentence names one by one


def against_reference(found: BenchResults, task: Task, kl: float, label: str) -> list[Comparison]:
    """The comparisons of a task at one KL, on one kind of prompts."""
    return [
        row
        for row in found.comparisons
        if row.question == task.question and row.prompts == label and kl_of(row.treatment) == kl
    ]


def above_chance(found: BenchResults, task: Task, kl: float, label: str) -> bool:
    """Whether the reference is shown to move refusals further than random directions do, the way the task goes."""
    row = found.comparison(f"{REFERENCE}@{kl:g}", f"{RANDOM}@{kl:g}", label)
    return row is not None and row.verdict == ("better" if task.side == "refusal" else "worse")


def _by_chance(found: BenchResults, task: Task) -> str:
    """Where the reference is not shown to do more than random directions, in brackets: there the other comparisons mean little."""
    cases = [(kl, label) for kl in found.kl for label in task.tested if against_reference(found, task, kl, label)]
    not_shown = sum(not above_chance(found, task, kl, label) for kl, label in cases)
    if not not_shown:
        return ""
    where = "there" if not_shown == len(cases) else f"in {not_shown} of {len(cases)} cases"
    return f" (the difference of means is not shown to do more than chance {where})"


def _short(found: BenchResults) -> str:
    """The whole in one sentence: what differs clearly from the reference, and where that is not shown to do more than chance."""
    parts = []
    for name in found.tasks:
        task = TASKS[name]
        rows = [row for row in found.comparisons if row.question == task.question]
        more, fewer = (_names([row for row in rows if row.verdict == word]) for word in ("better", "worse"))
        if not rows:
            parts.append(f"{DOING[name].lower()}: nothing was compared")
        elif not (more or fewer):
            parts.append(f"{DOING[name].lower()}: none of {count(len(rows), 'comparison')} shows a difference")
        else:
            said = [f"refused more often {more}"] * bool(more) + [f"less often {fewer}"] * bool(fewer)
            parts.append(f"{DOING[name].lower()}: {', '.join(said)}")
        parts[-1] += _by_chance(found, task)
    at = " and ".join(wording.asked(kl) for kl in found.kl)
    return f"Against the difference of means at the same KL ({at} nats), {'; '.join(parts)}."


def _names(rows: Sequence[Comparison]) -> str:
    """With which treatments, each with its prompts and KL; of more than a sentence bears, in how many comparisons of how many."""
    if len(rows) > NAMED:
        edits = {row.treatment.partition("@")[0] for row in rows}
        return f"in {len(rows)} comparisons, of {count(len(edits), 'edit')}"
    return "with " * bool(rows) + ", ".join(
        f"{wording.inside(called(row.treatment))} ({PROMPTS[row.prompts]}, {wording.asked(kl_of(row.treatment) or 0.0)} nats)"
        for row in rows
    )


def _at(found: BenchResults, task: Task, kl: float, label: str) -> list[str]:
    """One task at one KL on one kind of prompts: the reference beside chance, then what differs from it and what does not."""
    reference = found.rate(f"{REFERENCE}@{kl:g}", label)
    if reference is None:
        return []
    base, random = found.rate("baseline", label), found.rate(f"{RANDOM}@{kl:g}", label)
    put = "added" if task.op == "add" else "subtracted"
    beside = [
        f"{wording.rate(row)} {how}"
        for row, how in ((base, "without an edit"), (random, "with random directions"))
        if row
    ]
    chance = "more than chance" if above_chance(found, task, kl, label) else "not shown to be more than chance"
    head = (
        f"{DOING[task.name]}, KL {wording.asked(kl)} nats: {wording.rate(reference)} of {count(reference.n, PROMPTS[label] + ' test prompt')} are "
        f"refused with the difference of means {put} ({'; '.join(beside)}; {chance})."
    )
    rows = against_reference(found, task, kl, label)
    more = [row for row in rows if row.verdict == "better"]
    fewer = [row for row in rows if row.verdict == "worse"]
    alike = [row for row in rows if row.verdict == "equivalent"]
    rest = len(rows) - len(more) - len(fewer) - len(alike)
    parts = [f"refused more often than that with {_listed(more)}"] * bool(more)
    parts += [f"less often with {_listed(fewer)}"] * bool(fewer)
    parts += [f"within ±{wording.margin_points(found.margin)} with {_listed(alike)}"] * bool(alike)
    parts += [f"undecided in {count(rest, 'case')}"] * bool(rest)
    return [head, f"{'; '.join(parts)[:1].upper()}{'; '.join(parts)[1:]}."] if parts else [head]


def _listed(rows: Sequence[Comparison]) -> str:
    return ", ".join(
        f"{wording.inside(called(row.treatment))} {points(row.difference)} {interval(row.ci_low, row.ci_high, scale=100, digits=1)}"
        for row in rows
    )


def _rests_on(found: BenchResults) -> list[str]:
    """What the comparisons rest on: the doses, what is left out, and the family."""
    apart = max((abs(row.kl_mean / row.kl - 1) for row in found.doses), default=0.0)
    within = "each" if all(row.within for row in found.doses) else "not each"
    said = [
        f"{count(len(found.doses), 'dose')} of equal KL, {within} within 10 % of what was asked (at most {number(100 * apart, 1)} % away)."
    ]
    if found.left_out:
        names = dict.fromkeys(f"{row.part} {row.name}" for row in found.left_out)
        said.append(f"Left out, at some KL or at all: {', '.join(names)}; the reasons are in `left_out`.")
    same = [
        f"{called(row.condition)} is {wording.inside(called(row.same_as))}" for row in found.compared if row.same_as
    ]
    if same:
        said.append(f"{'; '.join(same)}: measured once.")
    said.append(
        f"Intervals are 95 %; the margin is {wording.margin_points(found.margin)}; families of comparisons: {found.family}."
    )
    return said
