"""How much a bench measures, and of what."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rhat.errors import StudyError
from rhat.prompts import Label
from rhat.reprs import one_line
from rhat.vocabulary import JUDGED_TOKENS, PRESETS, Preset, Side


@dataclass(frozen=True)
class Task:
    """What edits are compared at.

    name    as it is asked for
    label   on whose validation prompts doses are searched
    side    where edits move answers
    tested  whose test prompts are answered
    op      how a direction is put in
    """

    name: str
    label: Label
    side: Side
    tested: tuple[Label, ...]
    op: str

    __repr__ = one_line

    @property
    def question(self) -> str:
        """The name of its family of comparisons."""
        return f"bench_{self.name.replace('-', '_')}"


TASKS = {
    task.name: task
    for task in (
        Task("induce", "harmless", "refusal", ("harmless",), "add"),
        Task("remove", "harmful", "answers", ("harmful",), "subtract"),
        Task("over-refusal", "harmless", "refusal", ("borderline", "twin"), "add"),
    )
}
"""The tasks by name. Over-refusal is measured at the doses of inducing."""

DEFAULT_PARTS = ("finders", "rules", "operators", "baselines")
PARTS = (*DEFAULT_PARTS, "gauges")
"""What a bench can be made of. The gauges compare no edits, and are measured where they are asked for."""


@dataclass(frozen=True)
class Size:
    """How much a preset measures.

    kl          what edits are matched at, nats
    searched    validation prompts on which doses are searched
    tested      test prompts of a label that are answered under each condition
    borderline  the same of borderline prompts and of their twins
    randoms     random directions, dealt to the prompts in turn
    search      whether selection rules may search for candidates of their own
    items       capability items under each condition, as many of each category
    texts       neutral texts, and own answers to harmless test prompts, whose cross-entropy is taken
    """

    kl: tuple[float, ...]
    searched: int
    tested: int
    borderline: int
    randoms: int
    search: bool
    items: int
    texts: int

    __repr__ = one_line


SIZES = {
    "quick": Size((0.2,), 24, 40, 20, 4, False, 48, 12),
    "standard": Size((0.05, 0.2, 1.0), 48, 100, 50, 8, True, 240, 36),
}
"""The sizes of a bench by preset."""


def _told(kl: float) -> float:
    """A KL as condition ids say it, to six digits."""
    return float(f"{kl:g}")


@dataclass(frozen=True)
class BenchSettings:
    """How much a bench measures, and of what.

    only           which parts: finders, rules, operators, baselines, gauges; all but the gauges by default
    tasks          which tasks: induce, remove, over-refusal
    kl             the KL of the next token at which edits are compared, nats; (): the preset's
    finders        which finders, as they are written; (): every one by its name
    preset         how many prompts: quick, standard
    search         whether selection rules may search for candidates of their own; None: the preset's
    margin         the difference of refusal rates that is too small to matter, as a share
    seed           of everything that is drawn
    judged_tokens  tokens of each answer that are generated and judged
    refusals_only  do not measure what else edits move: cross-entropies and capability

    Raises:
        StudyError: if a name is unknown, or a number is outside what it may be.
    """

    only: tuple[str, ...] = DEFAULT_PARTS
    tasks: tuple[str, ...] = tuple(TASKS)
    kl: tuple[float, ...] = ()
    finders: tuple[str, ...] = ()
    preset: str = "quick"
    search: bool | None = None
    margin: float = 0.10
    seed: int = 0
    judged_tokens: int = JUDGED_TOKENS
    refusals_only: bool = False

    __repr__ = one_line

    def __post_init__(self) -> None:
        if self.preset not in SIZES:
            raise StudyError(f"preset {self.preset!r}: expected one of {', '.join(SIZES)}")
        for name, given, known in (("only", self.only, PARTS), ("task", self.tasks, tuple(TASKS))):
            strange = [one for one in given if one not in known]
            if strange or not given:
                raise StudyError(f"{name}: got {', '.join(strange) or 'nothing'}, expected some of {', '.join(known)}")
        for name, given in (("only", self.only), ("task", self.tasks), ("finders", self.finders)):
            if len(set(given)) < len(given):
                raise StudyError(f"{name}: got {', '.join(given)}, expected each name once")
        if any(not (math.isfinite(kl) and kl > 0) for kl in self.kl) or len(set(map(_told, self.kl))) < len(self.kl):
            got = ", ".join(map(str, self.kl))
            raise StudyError(f"kl: got {got}, expected different numbers of nats above 0, such as 0.05,0.2,1.0")
        if not 0 < self.margin < 1:
            raise StudyError(f"margin: got {self.margin}, expected a share between 0 and 1; 10 points is 0.10")

    @property
    def compares(self) -> bool:
        """Whether edits are compared: whether anything but the gauges is asked for."""
        return any(part in DEFAULT_PARTS for part in self.only)

    @property
    def size(self) -> Size:
        """How much the preset measures."""
        return SIZES[self.preset]

    @property
    def kls(self) -> tuple[float, ...]:
        """What edits are matched at, nats, rising."""
        return tuple(sorted(_told(kl) for kl in self.kl or self.size.kl))

    @property
    def searches(self) -> bool:
        """Whether selection rules may search."""
        return self.size.search if self.search is None else self.search

    @property
    def sizes(self) -> Preset:
        """The same as a lab's preset."""
        known, size = PRESETS[self.preset], self.size
        return Preset(
            self.preset,
            size.tested,
            size.tested,
            known.train,
            known.validation,
            size.randoms,
            size.randoms,
            borderline=size.borderline,
        )
