"""How long work will take on this machine, told before it begins, and how much of that is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rhat.model.chat import ChatModel
from rhat.model.work import Ledger, Work
from rhat.prompts import ContrastSet
from rhat.scoring.pieces import Pieces
from rhat.scoring.speed import Speed, speed_of
from rhat.selection.cost import SCORES, Answers, Expected, search_work, total
from rhat.selection.settings import FindSettings
from rhat.vocabulary import JUDGED_TOKENS

ASKED = 8  # training prompts of each label whose answers say how long answers are
SURE = 20.0  # seconds of work after which its pace corrects what was told


@dataclass(eq=False)
class Told:
    """What is expected of the stages of some work, in seconds on this machine.

    stages  seconds of each stage, those kept from an earlier run too
    kept    stages that are on disk and not run again
    held    seconds of the finished pieces of the stage at which an earlier run stopped
    others  what other presets would take, by name
    note    what else is said
    """

    stages: Mapping[str, float]
    speed: Speed
    kept: frozenset[str] = frozenset()
    held: float = 0.0
    others: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        self.follow(Ledger())

    @property
    def whole(self) -> float:
        """Seconds of all stages."""
        return sum(self.stages.values())

    @property
    def total(self) -> float:
        """Seconds of what is still to be done when the work begins."""
        return max(0.0, self.whole - self._kept - self.held)

    @property
    def _kept(self) -> float:
        return sum(self.stages.get(stage, 0.0) for stage in self.kept)

    def sentence(self) -> str:
        """Such as "about 12 min on this machine (quick 3 min, full 40 min)"."""
        said = f"about {span(self.total)} on this machine"
        if self.kept or self.held >= 1:
            said += f"; {span(self._kept + self.held)} of {span(self.whole)} is kept from before"
        if self.others:
            said += f" ({', '.join(f'{name} {span(seconds)}' for name, seconds in self.others.items())})"
        return f"{said}{self.note}"

    # While it runs

    def follow(self, ledger: Ledger) -> None:
        """The work begins now, and this ledger counts it."""
        self._ledger, self._begun = ledger, time.monotonic()
        self._at, self._before = -1, 0.0

    def reached(self, stage: str) -> None:
        """Progress is at this stage ("induce scores, block 2" is one of "induce scores"): what was expected of the scores before
        it, and was not needed, is not waited for."""
        name = stage.partition(",")[0]  # of two models, "A: induce scores"
        if (
            name.rpartition(": ")[2] in SCORES
            and name in self.stages
            and (at := list(self.stages).index(name)) > self._at
        ):
            self._at, self._before = at, self._worked

    @property
    def _worked(self) -> float:
        """Seconds, as expected, of what the ledger counts; finished pieces too, which are looked up at once."""
        return self.speed.seconds(self._ledger.total)

    @property
    def _ahead(self) -> float:
        """Seconds, as expected, of what is left."""
        later = [seconds for stage, seconds in list(self.stages.items())[max(0, self._at) :] if stage not in self.kept]
        return max(0.0, sum(later) - (self._worked - self._before))

    def done(self) -> float:
        """The share of the work that is done, between 0 and 1: what the ledger counts, of that and what is left."""
        whole = self._worked + self._ahead
        return 1.0 if not whole else self._worked / whole

    def left(self) -> float:
        """Seconds that are left, at the pace so far once that is known."""
        done, left = self._worked - self.held, self._ahead
        if done < 0:
            left = min(left, self.total)  # pieces are still being looked up
        if done > SURE:
            left *= min(4.0, max(0.25, (time.monotonic() - self._begun) / done))
        return left


def measured(model: ChatModel, prompts: ContrastSet) -> tuple[Speed, Answers]:
    """This machine's speed with a model, and how long the model's answers are, on a few training prompts."""
    texts = [p.text for label in ("harmful", "harmless") for p in prompts.select(label, "train", ASKED)]
    speed = speed_of(model, texts)
    return speed, answers_of(speed)


def answers_of(speed: Speed) -> Answers:
    """How long answers are, as it was seen while the machine was measured."""
    return Answers(speed.answer_tokens, JUDGED_TOKENS, speed.answers_cut)


def told_of(
    model: ChatModel,
    prompts: ContrastSet,
    work: Callable[[Answers], Mapping[str, Work]],
    pieces: Pieces | None = None,
    note: str = "",
) -> Told | None:
    """How long some work will take, given how long answers are; None for a model that is run by the plain path, of which no
    speed is known."""
    if not model.fast:
        return None
    speed, answers = measured(model, prompts)
    held = 0.0 if pieces is None else speed.seconds(pieces.work())
    return Told(in_seconds(work(answers), speed), speed, held=held, note=note)


def told_of_search(
    model: ChatModel, prompts: ContrastSet, settings: FindSettings, pieces: Pieces | None = None
) -> Told | None:
    """How long a search will take, if that is known: where no candidate passes the published rules; where one does, it is over
    sooner, and the sentence says when."""
    given = Expected(model, prompts)

    def work(answers: Answers, relaxed: bool = True) -> Mapping[str, Work]:
        given.answers = answers
        return search_work(given, settings, relaxed=relaxed)

    told = told_of(model, prompts, work, pieces)
    if told is not None and settings.rule == "published":
        sooner = told.speed.seconds(total(work(answers_of(told.speed), relaxed=False)))
        if (before := max(0.0, sooner - told.held)) > 0 and span(before) != span(told.total):
            told.note = f"; {span(before)} if a candidate passes the published rules"
    return told


def in_seconds(work: Mapping[str, Work], speed: Speed) -> dict[str, float]:
    """Seconds of each stage."""
    return {stage: speed.seconds(done) for stage, done in work.items()}


def span(seconds: float) -> str:
    """A time in words: "8 s", "12 min", "1 h 40 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
