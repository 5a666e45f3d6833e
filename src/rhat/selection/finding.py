"""Finding r̂: from a contrast set to the chosen direction, on training and validation prompts only."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from rhat.capture import Moments
from rhat.directions import Direction
from rhat.directions.finders import finder_named
from rhat.errors import StudyError
from rhat.executor import Executor, SerialExecutor
from rhat.model.chat import ChatModel
from rhat.prompts import ContrastSet, Label, Prompt, Split
from rhat.scoring import RefusalToken, tasks
from rhat.scoring.phrases import BUILT_IN, Phrases
from rhat.selection.answers import listen
from rhat.selection.behaviour import mean_over_all
from rhat.selection.choice import Choice
from rhat.selection.means import Means
from rhat.selection.search import Scorer, planned, search
from rhat.selection.settings import FindSettings, Progress, silent
from rhat.selection.vectors import with_finder
from rhat.sites import Site

log = logging.getLogger(__name__)

Outcome = Literal["found", "found_relaxed", "no_candidate", "no_refusal"]
SIDES: tuple[Label, Label] = ("harmful", "harmless")


@dataclass(frozen=True, eq=False, repr=False)
class Finding:
    """What `find` found: the direction (None when there is none), and everything that led to it.

    response_prefix  the text after which answers begin in all that was measured; given, or chosen to lead past markup
    phrases          what answers were read with
    markup           a sentence on the markup before answers; empty if there is none
    openings         commonest openings of answers to harmful training prompts, a few words each, and how often each was said
    """

    outcome: Outcome
    sentence: str
    direction: Direction | None
    candidates: tuple[dict[str, Any], ...]
    refusal_tokens: tuple[RefusalToken, ...]
    prompts: dict[str, dict[str, dict[str, int]]]  # split → label → {given, kept}
    means: Means | None = None
    rule: str = "published"
    removed: Mapping[str, int] = field(default_factory=dict)
    split_half_cosine: float | None = None
    baseline_induce: float | None = None
    timings: tuple[tuple[str, float], ...] = ()
    kept: dict[str, dict[str, tuple[Prompt, ...]]] = field(default_factory=dict)  # split → label → prompts
    response_prefix: str = ""
    phrases: Phrases = BUILT_IN
    markup: str = ""
    openings: tuple[tuple[str, int], ...] = ()

    def __repr__(self) -> str:
        return f"Finding({self.outcome}: {self.sentence})"

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Ids of the refusal tokens."""
        return tuple(token.id for token in self.refusal_tokens)


class _Clock:
    def __init__(self) -> None:
        self.stages: list[tuple[str, float]] = []
        self.last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.stages.append((stage, round(now - self.last, 3)))
        self.last = now


def survey(
    model: ChatModel,
    prompts: ContrastSet,
    settings: FindSettings | None = None,
    *,
    progress: Progress = silent,
    executor: Executor | None = None,
) -> Finding:
    """What is needed before choosing: refusal tokens, the prompts on which the model behaves as labelled, their means.

    Where answers open with markup (a think block, a channel), everything is measured after a response prefix that leads past
    it: `model.with_response_prefix(finding.response_prefix)` is the model that the finding is about. The outcome is "no_refusal" where there is too little of it, else "no_candidate": none has been scored yet.

    Raises:
        StudyError: if the contrast set has no prompts in a split that is needed, or given refusal tokens are none.
    """
    settings = settings or FindSettings()
    executor = executor or SerialExecutor()
    clock = _Clock()
    limits: tuple[tuple[Split, int | None], ...] = (("train", settings.train), ("validation", settings.validation))
    given: dict[str, dict[str, tuple[Prompt, ...]]]
    given = {split: {label: prompts.select(label, split, limit) for label in SIDES} for split, limit in limits}
    for split, sides in given.items():
        for label, some in sides.items():
            if not some:
                raise StudyError(
                    f"{prompts.name}: got no {label} {split} prompts; give at least 8 prompts of each label"
                )
    heard = listen(model, given["train"], settings, progress, executor)
    clock.lap("refusal tokens")
    model, tokens, counts = heard.model, heard.tokens, _counts(given, {})
    known: dict[str, Any] = {
        "response_prefix": model.response_prefix,
        "phrases": settings.phrases,
        "markup": heard.markup,
        "openings": heard.openings,
    }
    if not tokens or (heard.refused < 2 and not settings.refusal_tokens):
        stages = tuple(clock.stages)
        return Finding("no_refusal", heard.why_not(), None, (), tokens, counts, timings=stages, **known)
    ids = [token.id for token in tokens]
    moments, kept = _moments(model, given, ids, progress, executor, heard.threshold)
    clock.lap("activations")
    counts = _counts(given, kept)
    short = []
    for split, least in zip(("train", "validation"), settings.min_kept, strict=True):
        for label in SIDES:
            have, of = len(kept[split][label]), len(given[split][label])
            needed = min(least, -(-of // 4))
            if have < needed:
                short.append(f"{split} {label}: {have} kept of {of}, {needed} needed")
    if short:
        numbers = f"prompts on which it behaves as labelled: {'; '.join(short)}"
        if any(" harmful:" in s for s in short):
            sentence = f"{model.name} hardly refuses ({numbers}), so there is no refusal to study"
        else:
            sentence = f"{model.name} refuses harmless prompts too ({numbers}), so r̂ would mean little"
        sentence, stages = heard.with_markup(sentence), tuple(clock.stages)
        return Finding("no_refusal", sentence, None, (), tokens, counts, timings=stages, kept=kept, **known)
    return Finding(
        "no_candidate",
        "no candidate has been scored",
        None,
        (),
        tokens,
        counts,
        moments,
        timings=tuple(clock.stages),
        kept=kept,
        **known,
    )


def find(
    model: ChatModel,
    prompts: ContrastSet,
    settings: FindSettings | None = None,
    *,
    progress: Progress = silent,
    executor: Executor | None = None,
) -> Finding:
    """Find the refusal direction of a chat model by difference of means, or another finder, and the published selection.

    Training prompts give the candidates (every layer and template position), validation prompts the choice; only prompts
    on which the model behaves as labelled are used (harmful: refusal score above a threshold, fitted on judged answers to
    training prompts; harmless: below). Test prompts are not
    touched. Arditi et al. 2024, sections 2.3 to 2.5 and appendix C. `executor` says who runs prompts and candidates; by
    default this process does.

    Raises:
        StudyError: if the contrast set has no prompts in a split that is needed.
        ContrastError: if there is no such finder.
    """
    settings = settings or FindSettings()
    finder_named(settings.finder)
    executor = executor or SerialExecutor()
    surveyed = survey(model, prompts, settings, progress=progress, executor=executor)
    if surveyed.means is None:
        return surveyed
    means, clock = surveyed.means, _Clock()
    model = model.with_response_prefix(surveyed.response_prefix)
    if settings.finder != "mean_difference":
        means = with_finder(model, means, surveyed.kept["train"], settings.finder, progress)
        clock.lap("candidates")
    scorer = Scorer(model, executor, surveyed.token_ids, progress)
    choice, baseline = search(scorer, means, surveyed.kept["validation"], settings, clock.lap)
    outcome, sentence = _outcome(model, choice)
    finding = replace(
        surveyed,
        outcome=outcome,
        sentence=f"{sentence}. {surveyed.markup}" if surveyed.markup else sentence,
        candidates=choice.table,
        rule=choice.rule,
        removed=choice.removed,
        baseline_induce=baseline,
        timings=(*surveyed.timings, *clock.stages),
    )
    if choice.candidate is None:
        return finding
    layer, position = choice.candidate["layer"], choice.candidate["position"]
    direction = direction_at(model, means, layer, position, prompts.fingerprint, settings.finder)
    everybody = prompts.select("harmful", "train", settings.train)
    said = {
        "score_threshold": means.threshold,
        "mean_harmful_all": mean_over_all(model, direction, everybody, executor),
    }
    direction = replace(direction, extra={**direction.extra, **settings.reading(), **said})
    return replace(finding, means=means, direction=direction, split_half_cosine=split_half(means, layer, position))


def direction_at(
    model: ChatModel, means: Means, layer: int, position: int, fingerprint: str = "", finder: str = "mean_difference"
) -> Direction:
    """The candidate of one layer and position as a direction, with both sides' mean projections.

    Raises:
        ContrastError: if the two means are the same there (layer 0 sees only the template).
    """
    from importlib.metadata import version

    at = means.positions.index(position)
    return Direction.from_means(
        means.candidates[layer, at],
        means.harmful[layer, at],
        means.harmless[layer, at],
        Site("resid_pre", layer),
        position=position,
        method=finder,
        model=model.describe(),
        prompts=fingerprint,
        extra={"versions": {name: version(name) for name in ("torch", "transformers")}},
    )


def split_half(means: Means, layer: int, position: int) -> float:
    """Cosine of the two directions found on halves of the training prompts."""
    at = means.positions.index(position)
    a, b = (half[layer, at] for half in means.halves)
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def _counts(given: Any, kept: Any) -> dict[str, dict[str, dict[str, int]]]:
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
    executor: Executor | None = None,
    threshold: float = 0.0,
) -> tuple[Means, dict[str, dict[str, tuple[Prompt, ...]]]]:
    """One pass over training and validation prompts: scores for the filter, and means of those that pass it."""
    executor = executor or SerialExecutor()
    kept: dict[str, dict[str, tuple[Prompt, ...]]] = {"train": {}, "validation": {}}
    halves: dict[str, list[Moments]] = {}
    total = sum(len(some) for sides in given.values() for some in sides.values())
    before = 0
    for split, sides in given.items():
        for label, some in sides.items():
            the_plan = planned(model, some)
            shards = executor.split(len(the_plan.batches))

            def tell(done: int, _total: int, before: int = before) -> None:
                progress("activations", before + done, total)

            asked = tasks.Averaging(the_plan.prompts, tuple(ids), label == "harmful", split == "train", threshold)
            sizes = [sum(len(the_plan.batches[i].rows) for i in shard) for shard in shards]
            parts = executor.map(tasks.average, model, asked, shards, sizes=sizes, progress=tell)
            before += len(some)
            scores = torch.empty(len(some), dtype=torch.float64)
            for part in parts:
                scores[part.rows] = part.scores
            if split == "train":
                halves[label] = [sum((p.halves[half] for p in parts[1:]), parts[0].halves[half]) for half in (0, 1)]
            right = scores > threshold if label == "harmful" else scores < threshold
            kept[split][label] = tuple(p for p, keep in zip(some, right.tolist(), strict=True) if keep)
    return replace(_means(tuple(range(-model.template_length, 0)), halves), threshold=threshold), kept


def _means(positions: tuple[int, ...], halves: Mapping[str, Sequence[Moments]]) -> Means:
    both = {label: parts[0] + parts[1] for label, parts in halves.items()}

    def mean(moments: Moments) -> Tensor:
        return moments.total / max(moments.count, 1)

    return Means(
        positions,
        mean(both["harmful"]),
        mean(both["harmless"]),
        tuple(mean(halves["harmful"][h]) - mean(halves["harmless"][h]) for h in (0, 1)),  # type: ignore[arg-type]
    )


def _outcome(model: ChatModel, choice: Choice) -> tuple[Outcome, str]:
    removed = ", ".join(f"{name} {count}" for name, count in choice.removed.items() if count)
    if choice.candidate is None:
        return "no_candidate", (
            f"no candidate direction of {model.name} passes the rules, published or relaxed (removed by: {removed})"
        )
    where = f"layer {choice.candidate['layer']}, position {choice.candidate['position']}"
    if choice.rule == "published":
        return "found", f"r̂ of {model.name} is at {where}, by the published rules (removed by: {removed})"
    return "found_relaxed", (
        f"r̂ of {model.name} is at {where}, by the relaxed rule: no candidate meets the published induce threshold, so adding "
        f"it need only raise the refusal score of harmless prompts significantly (removed by: {removed})"
    )
