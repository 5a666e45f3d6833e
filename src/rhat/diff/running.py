"""Comparing two models: one in memory at a time, A first, then B, then A again for B's r̂."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rhat.diff.cost import told_of_diff
from rhat.diff.document import Diff
from rhat.diff.results import results
from rhat.diff.rows import Side
from rhat.diff.seen import Seen, Visit, check_given
from rhat.diff.settings import DiffSettings
from rhat.directions import Direction
from rhat.errors import StudyError
from rhat.model.allocator import give_back_freed_memory
from rhat.model.chat import ChatModel
from rhat.model.work import Ledger, counting
from rhat.prompts import ContrastSet
from rhat.scoring.pieces import Pieces
from rhat.selection.settings import FindSettings, Progress
from rhat.selection.survey import SIDES
from rhat.selection.told import Told
from rhat.selection.watching import watched

Opens = ChatModel | Callable[[], ChatModel]


def diff(
    a: Opens,
    b: Opens,
    prompts: ContrastSet,
    settings: DiffSettings | None = None,
    *,
    directions: Sequence[Direction | None] = (None, None),
    find_settings: FindSettings | None = None,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    told: Callable[[Told], None] | None = None,
) -> Diff:
    """Whether refusal changed from model A to model B: the same test prompts through both, paired prompt by prompt.

    A model is given as a ChatModel, or as a function that loads one: it is then let go of before the other is loaded, and A is loaded
    twice where B's r̂ is found first. Of each model: judged answers to harmful, harmless and (where there are any) borderline test prompts
    and their unsafe twins; r̂, found on training and validation prompts, unless `directions` holds it; means of training prompts at
    every layer. Of each r̂ in each model: projections, refusals of harmless prompts with r̂ set to its own harmful mean, and its length in
    every matrix that writes to the residual stream. `settings` say how many prompts, and how much worse matters.

    Finished work is kept in `folder`, if given, so that the same comparison resumes where it stopped; answers to harmful prompts are
    kept without their words. `told` is told, once A is there, how long everything will take, B being taken to be as fast.

    Raises:
        StudyError: if the prompts lack a split that is needed, or not two directions are given.
        DirectionError: if a given direction is not of its model.
    """
    if progress is None:
        with watched() as shown:
            return diff(
                a,
                b,
                prompts,
                settings,
                directions=directions,
                find_settings=find_settings,
                folder=folder,
                progress=shown,
                told=told,
            )
    settings = settings or DiffSettings()
    if len(directions) != 2:
        raise StudyError(f"directions: got {len(directions)}, expected two: A's and B's; give -d twice, or not at all")
    for label in SIDES:
        if not prompts.select(label, "test"):
            raise StudyError(f"{prompts.name}: got no {label} test prompts; give at least 8 prompts of each label")
    search = find_settings or FindSettings.sized(settings.sizes, judged_tokens=settings.judged_tokens)
    run = _Run(prompts, settings, search, progress, None if folder is None else Path(folder), told)
    with counting() as run.ledger:
        seen_a, seen_b = run.both(a, b, *directions)
        return results(seen_a, seen_b, prompts, settings)


@dataclass(eq=False)
class _Run:
    """What is common to all visits."""

    prompts: ContrastSet
    settings: DiffSettings
    search: FindSettings
    progress: Progress
    folder: Path | None
    told: Callable[[Told], None] | None

    def __post_init__(self) -> None:
        self.ledger: Ledger | None = None

    def both(self, a: Opens, b: Opens, given_a: Direction | None, given_b: Direction | None) -> tuple[Seen, Seen]:
        """Three visits: A alone, B with both r̂, A with B's; two, where B's r̂ is known beforehand or there is none."""
        seen_a = self._first(a, given_a, given_b)
        seen_b = self._second(b, given_b, seen_a.direction)
        theirs = seen_b.direction
        if theirs is not None and "B" not in seen_a.under:
            visit = self._visit("A", a)
            seen_a = visit.under(seen_a, "B", theirs)
            self._leave(visit)
        return seen_a, seen_b

    def _first(self, a: Opens, given: Direction | None, other: Direction | None) -> Seen:
        visit = self._visit("A", a)
        if given is not None:
            check_given(given, visit.model)
        if self.told is not None and self.ledger is not None:
            pieces = visit.pieces
            told = told_of_diff(visit.model, self.prompts, self.settings, self.search, (given, other), pieces)
            if told is not None:
                told.follow(self.ledger)
                self.told(told)
        return self._used(visit, given, {"B": other})

    def _second(self, b: Opens, given: Direction | None, other: Direction | None) -> Seen:
        visit = self._visit("B", b)
        if given is not None:
            check_given(given, visit.model)
        return self._used(visit, given, {"A": other})

    def _used(self, visit: Visit, given: Direction | None, others: Mapping[Side, Direction | None]) -> Seen:
        """What a model does by itself, then with its own r̂, then with the other's; the model is let go of."""
        seen = visit.see(given)
        all_of: dict[Side, Direction | None] = {visit.side: seen.direction, **others}
        for whose, direction in all_of.items():
            if direction is not None:
                seen = visit.under(seen, whose, direction)
        self._leave(visit)
        return seen

    def _visit(self, side: Side, opens: Opens) -> Visit:
        model = opens if isinstance(opens, ChatModel) else opens()
        pieces = None if self.folder is None else Pieces.of(self.folder / side, model)

        def said(stage: str, done: int, total: int) -> None:
            self.progress(f"{side}: {stage.removeprefix(f'{side}, ')}", done, total)

        return Visit(side, model, self.prompts, self.settings, self.search, said, pieces)

    def _leave(self, visit: Visit) -> None:
        """Let go of the model, unless the caller holds it."""
        del visit.model
        gc.collect()
        give_back_freed_memory()
