"""The survey before the choice: refusal tokens, the prompts on which a model behaves as labelled, and their means."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from rhat.capture import Moments
from rhat.errors import StudyError
from rhat.executor import Executor, SerialExecutor, cut
from rhat.model.chat import ChatModel
from rhat.model.work import counting, so_far
from rhat.prompts import ContrastSet, Label, Prompt, Split
from rhat.scoring import RefusalToken, tasks
from rhat.scoring.keeping import Counting, Keeping
from rhat.scoring.phrases import BUILT_IN, Phrases
from rhat.scoring.pieces import Pieces
from rhat.selection.answers import ENOUGH, Heard, listen
from rhat.selection.means import Means
from rhat.selection.search import planned
from rhat.selection.settings import FindSettings, Progress, silent

SIDES: tuple[Label, Label] = ("harmful", "harmless")
FEWEST = 2  # prompts of a label and split: one has no spread
Given = Mapping[str, Mapping[str, tuple[Prompt, ...]]]  # split → label → prompts


@dataclass(frozen=True, eq=False, repr=False)
class Survey:
    """What is known of a model before any candidate is scored.

    why_not          why there is no refusal to study; empty where there is one
    refusal_tokens   first tokens of its refusals
    prompts          split → label → how many prompts were given, and kept by the behaviour filter
    kept             split → label → the kept prompts
    means            of the kept training prompts; None where there is no refusal to study
    response_prefix  the text after which answers begin in all that was measured; given, or chosen to lead past markup
    phrases          what answers were read with
    markup           a sentence on the markup before answers; empty if there is none
    openings         commonest openings of answers to harmful training prompts, a few words each, and how often each was said
    timings, work    seconds of each stage, and what it computed, as `Work.said` says it
    """

    why_not: str = ""
    refusal_tokens: tuple[RefusalToken, ...] = ()
    prompts: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    kept: Given = field(default_factory=dict)
    means: Means | None = None
    response_prefix: str = ""
    phrases: Phrases = BUILT_IN
    markup: str = ""
    openings: tuple[tuple[str, int], ...] = ()
    timings: tuple[tuple[str, float], ...] = ()
    work: Mapping[str, Mapping[str, int | float]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Survey({self.why_not or self.prompts})"

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Ids of the refusal tokens."""
        return tuple(token.id for token in self.refusal_tokens)


class Clock:
    """Seconds and work of one stage after the other."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, float]] = []
        self.work: dict[str, dict[str, int | float]] = {}
        self.last, self.done = time.perf_counter(), so_far()

    def lap(self, stage: str) -> None:
        """This stage has ended."""
        now = time.perf_counter()
        self.stages.append((stage, round(now - self.last, 3)))
        self.work[stage] = (so_far() - self.done).said()
        self.last, self.done = now, so_far()


@counting()
def survey(
    model: ChatModel,
    prompts: ContrastSet,
    settings: FindSettings | None = None,
    *,
    progress: Progress = silent,
    executor: Executor | None = None,
    pieces: Pieces | None = None,
) -> Survey:
    """What is needed before choosing: refusal tokens, the prompts on which the model behaves as labelled, their means.

    Where answers open with markup (a think block, a channel), everything is measured after a response prefix that leads past
    it: `model.with_response_prefix(survey.response_prefix)` is the model that the survey is about. `pieces` keep what is done,
    batch by batch.

    Raises:
        StudyError: if the contrast set has fewer than two prompts of a label in a split that is needed, or given refusal tokens are none.
    """
    settings = settings or FindSettings()
    executor = Counting(executor or SerialExecutor())
    clock = Clock()
    given = _given(prompts, settings)
    heard = _heard(model, given["train"], settings, progress, executor, pieces)
    clock.lap("refusal tokens")
    model, tokens = heard.model, heard.tokens
    known: dict[str, Any] = {
        "refusal_tokens": tokens,
        "response_prefix": model.response_prefix,
        "phrases": settings.phrases,
        "markup": heard.markup,
        "openings": heard.openings,
    }
    if _too_little_heard(heard, settings):
        known |= {"timings": tuple(clock.stages), "work": clock.work}
        return Survey(heard.why_not(), prompts=_counts(given, {}), **known)
    if pieces is not None:
        executor = Keeping(executor, pieces)
    extra = int(settings.instruction_token)
    moments, kept = _moments(model, given, [token.id for token in tokens], progress, executor, heard.threshold, extra)
    clock.lap("activations")
    known |= {"prompts": _counts(given, kept), "kept": kept, "timings": tuple(clock.stages), "work": clock.work}
    if why_not := _too_few(model, given, kept, settings):
        return Survey(heard.with_markup(why_not), **known)
    return Survey(means=moments, **known)


def _given(prompts: ContrastSet, settings: FindSettings) -> dict[str, dict[str, tuple[Prompt, ...]]]:
    """The training and validation prompts of both sides.

    Raises:
        StudyError: if any of these has fewer than two.
    """
    limits: tuple[tuple[Split, int | None], ...] = (("train", settings.train), ("validation", settings.validation))
    given = {split: {label: prompts.select(label, split, limit) for label in SIDES} for split, limit in limits}
    for split, sides in given.items():
        for label, some in sides.items():
            if len(some) < FEWEST:
                got = f"1 {label} {split} prompt" if some else f"no {label} {split} prompts"
                raise StudyError(f"{prompts.name}: got {got}; give at least 8 prompts of each label")
    return given  # type: ignore[return-value]


def _too_little_heard(heard: Heard, settings: FindSettings) -> bool:
    """Whether the answers hold too few refusals to look for a direction; refusal tokens of the user's own stand in for them."""
    return not heard.tokens or (heard.refused < ENOUGH and not settings.refusal_tokens)


def _heard(
    model: ChatModel,
    train: Mapping[str, Sequence[Prompt]],
    settings: FindSettings,
    progress: Progress,
    executor: Executor,
    pieces: Pieces | None,
) -> Heard:
    """How the model answers, kept as what was made of the answers: their words are not written down."""
    if pieces is None:
        return listen(model, train, settings, progress, executor)

    def make() -> dict[str, Any]:
        heard = listen(model, train, settings, progress, executor)
        # Openings are words of answers: written down only where they are all that there is to tell.
        told = heard.openings if _too_little_heard(heard, settings) else ()
        return {**vars(heard), "model": heard.model.response_prefix, "openings": told}

    asked = [[p.text for p in train[label][: settings.token_prompts]] for label in SIDES]
    system = model.tokenize(["a"])[0]  # the template, with its system prompt and response prefix
    held = pieces.piece(
        "heard",
        (system, asked, settings.phrases, settings.refusal_tokens, settings.judged_tokens, model.thinking.limit),
        make,
    )
    return Heard(**{**held, "model": model.with_response_prefix(held["model"])})


def _too_few(model: ChatModel, given: Given, kept: Given, settings: FindSettings) -> str:
    """Why the behaviour filter leaves too little; empty where it leaves enough."""
    short = []
    for split, least in zip(("train", "validation"), settings.min_kept, strict=True):
        for label in SIDES:
            have, of = len(kept[split][label]), len(given[split][label])
            needed = min(least, max(FEWEST, -(-of // 4)))
            if have < needed:
                short.append(f"{split} {label}: {have} kept of {of}, {needed} needed")
    if not short:
        return ""
    numbers = f"prompts on which it behaves as labelled: {'; '.join(short)}"
    if any(" harmful:" in s for s in short):
        return f"{model.name} hardly refuses ({numbers}), so there is no refusal to study"
    return f"{model.name} refuses harmless prompts too ({numbers}), so r̂ would mean little"


def _counts(given: Given, kept: Given) -> dict[str, dict[str, dict[str, int]]]:
    return {
        split: {
            label: {"given": len(some)} | ({"kept": len(kept[split][label])} if kept else {})
            for label, some in sides.items()
        }
        for split, sides in given.items()
    }


def _moments(
    model: ChatModel,
    given: Mapping[str, Mapping[str, Sequence[Prompt]]],
    ids: Sequence[int],
    progress: Progress,
    executor: Executor,
    threshold: float,
    extra: int = 0,
) -> tuple[Means, dict[str, dict[str, tuple[Prompt, ...]]]]:
    """One pass over training and validation prompts: scores for the filter, and means of those that pass it."""
    kept: dict[str, dict[str, tuple[Prompt, ...]]] = {"train": {}, "validation": {}}
    halves: dict[str, list[Moments]] = {}
    total = sum(len(some) for sides in given.values() for some in sides.values())
    before = 0
    for split, sides in given.items():
        for label, some in sides.items():
            plan = planned(model, some)
            shards = cut(executor.split(len(plan.batches)), tasks.BATCHES)

            def tell(done: int, _total: int, before: int = before) -> None:
                progress("activations", before + done, total)

            asked = tasks.Averaging(plan.prompts, tuple(ids), label == "harmful", split == "train", threshold, extra)
            sizes = [sum(len(plan.batches[i].rows) for i in shard) for shard in shards]
            parts = executor.map(tasks.average, model, asked, shards, sizes=sizes, progress=tell)
            before += len(some)
            scores = torch.empty(len(some), dtype=torch.float64)
            for part in parts:
                scores[part.rows] = part.scores
            if split == "train":
                halves[label] = [sum((p.halves[half] for p in parts[1:]), parts[0].halves[half]) for half in (0, 1)]
            right = scores > threshold if label == "harmful" else scores < threshold
            kept[split][label] = tuple(p for p, keep in zip(some, right.tolist(), strict=True) if keep)
    return replace(_means(tuple(range(-model.template_length - extra, 0)), halves), threshold=threshold), kept


def _means(positions: tuple[int, ...], halves: Mapping[str, Sequence[Moments]]) -> Means:
    both = {label: parts[0] + parts[1] for label, parts in halves.items()}

    def mean(moments: Moments) -> Tensor:
        return moments.total / max(moments.count, 1)

    def half(harmful: Moments, harmless: Moments) -> Tensor:
        differ = mean(harmful) - mean(harmless)
        return differ if harmful.count and harmless.count else torch.zeros_like(differ)

    apart = [half(halves["harmful"][h], halves["harmless"][h]) for h in (0, 1)]
    return Means(positions, mean(both["harmful"]), mean(both["harmless"]), (apart[0], apart[1]))
