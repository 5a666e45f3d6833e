"""Scoring the candidates, lazily, and choosing one by the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rhat.errors import StudyError
from rhat.executor import Executor
from rhat.interventions import Intervention
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits
from rhat.model.plans import Plan
from rhat.prompts import Prompt
from rhat.scoring import tasks
from rhat.selection.choice import Choice, choose, choose_relaxed
from rhat.selection.means import Means
from rhat.selection.scored import Place, Scored, Values
from rhat.selection.settings import FindSettings, Progress
from rhat.statistics import mean_interval


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores candidates, those of a layer in one pass."""

    model: ChatModel
    executor: Executor
    tokens: tuple[int, ...]
    progress: Progress

    def scores(
        self, some: Plan, conditions: Sequence[Edits], stage: str = "", *, resume: Sequence[int] = (), kl: bool = False
    ) -> list[tuple[Tensor, Tensor | None]]:
        """Scores, and KL if asked for, of the prompts of a plan under each condition."""
        asked = tasks.Scoring(some.prompts, self.tokens, tuple(resume), kl)

        def tell(done: int, total: int) -> None:
            if stage:
                self.progress(stage, done, total)

        found = tasks.score_all(self.executor, self.model, asked, some, conditions, progress=tell)
        for scores, kls in found:
            if not bool(scores.isfinite().all()) or (kls is not None and not bool(kls.isfinite().all())):
                raise StudyError(
                    f"{self.model.name}: got a refusal score or KL that is not finite, expected numbers; the model gives "
                    f"the refusal tokens {list(self.tokens)}, or all others, no chance at all: check its vocabulary"
                )
        return found


def search(
    scorer: Scorer,
    means: Means,
    validation: Mapping[str, Sequence[Prompt]],
    settings: FindSettings,
    lap: Callable[[str], None],
) -> tuple[Choice, Scored]:
    """Score candidates and choose. Induce first, then ablation for those that pass, then KL in order of ablation score
    until one passes: the choice is the same as with every score known, because the rules are a conjunction. Early stopping among
    induce scores is not exact but nearly: a candidate is wrongly dropped with a probability below 0.05 % a look.

    Gives the choice, and every score that it was made by.
    """
    n_layers = scorer.model.n_layers
    table = [
        {"position": p, "layer": layer, "norm": float(means.candidates[layer, i].norm())}
        for layer in range(n_layers)
        for i, p in enumerate(means.positions)
    ]
    first_skipped = int((1 - settings.skip_last) * n_layers)
    open_ = [c for c in table if c["norm"] > 0 and c["layer"] < first_skipped]
    harmless, harmful = (planned(scorer.model, validation[label]) for label in ("harmless", "harmful"))
    first = 0 if settings.all_kl else settings.early_stopping
    induce = _Induce(scorer, means, validation["harmless"], first, settings.induce_min)
    rule, survivors = induce.survivors(open_)
    lap("induce scores")
    ablation: dict[Place, Values] = {}
    kl: dict[Place, Values] = {}
    _score_ablation(scorer, means, survivors, harmful, ablation)
    lap("ablation scores")
    _score_kl(scorer, means, survivors, harmless, settings, kl)
    lap("KL")
    if rule == "published":
        choice = choose(
            table,
            n_layers=n_layers,
            kl_max=settings.kl_max,
            induce_min=settings.induce_min,
            skip_last=settings.skip_last,
        )
        if choice.candidate is None:  # KL removed all that the published induce rule kept
            rule = "relaxed"
            induce.finish(open_, "induce scores, the rest")
            survivors = [c for c in open_ if c["induce_rise_low"] > 0 and "ablation_score" not in c]
            _score_ablation(scorer, means, survivors, harmful, ablation)
            _score_kl(scorer, means, survivors, harmless, settings, kl)
    if rule == "relaxed":
        choice = choose_relaxed(table, n_layers=n_layers, kl_max=settings.kl_max, skip_last=settings.skip_last)
    added = {place: torch.cat(parts).numpy() for place, parts in induce.scores.items()}
    return choice, Scored(induce.before.numpy(), added, ablation, kl)


@dataclass(eq=False)
class _Induce:
    """Induce scores of candidates on harmless validation prompts, taken in blocks: 8 prompts, the next 8, the next 16 …

    After each block a candidate that is clearly below the threshold drops out: its 99.9 % interval does not reach it. Who
    drops out keeps the score and the number of prompts that it has.
    """

    scorer: Scorer
    means: Means
    prompts: Sequence[Prompt]
    first: int
    threshold: float
    scores: dict[Place, list[Tensor]] = field(default_factory=dict)

    @cached_property
    def blocks(self) -> list[Plan]:
        """The prompts, cut after each look. The last block is half of those before it at least."""
        ends, n = [], len(self.prompts)
        look = self.first
        while look and 3 * look <= 2 * n:
            ends.append(look)
            look *= 2
        return [planned(self.scorer.model, self.prompts[i:j]) for i, j in zip([0, *ends], [*ends, n], strict=True)]

    @cached_property
    def before(self) -> Tensor:
        """Refusal scores of the unedited model."""
        return torch.cat([self.scorer.scores(some, [{}])[0][0] for some in self.blocks])

    def survivors(self, candidates: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
        """The rule that leaves any, and who passes it: the published one, or, where none does, the relaxed one, for which
        every candidate is finished."""
        running = candidates
        for index in range(len(self.blocks)):
            last = index == len(self.blocks) - 1
            self._run(running, index, "induce scores" if last else f"induce scores, block {index + 1}")
            if not last:
                running = [c for c in running if self._within_reach(c)]
        passing = [c for c in running if c["induce_score"] > self.threshold]
        if passing:
            return "published", passing
        self.finish(candidates, "induce scores, the rest")
        return "relaxed", [c for c in candidates if c["induce_rise_low"] > 0]

    def finish(self, candidates: Sequence[dict[str, Any]], stage: str) -> None:
        """Give those that dropped out the prompts that they have not had."""
        for index in range(1, len(self.blocks)):
            late = [c for c in candidates if len(self.scores[_key(c)]) == index]
            self._run(late, index, f"{stage}, {index}")

    def _within_reach(self, candidate: dict[str, Any]) -> bool:
        """Whether the mean score over all prompts may still be the threshold: the unedited model's mean, known over all of
        them, plus the 99.9 % interval of the rise over those so far. Rises vary far less than scores do."""
        after = torch.cat(self.scores[_key(candidate)])
        rise = mean_interval((after - self.before[: len(after)]).numpy(), 0.999)
        return float(self.before.mean()) + rise.high >= self.threshold

    def _run(self, candidates: Sequence[dict[str, Any]], index: int, stage: str) -> None:
        """One block of prompts with each candidate added at its own layer."""
        if not candidates:
            return
        additions = []
        for candidate in candidates:
            raw = self.means.candidates[candidate["layer"], self.means.positions.index(candidate["position"])]
            doing = Intervention("add", (raw / raw.norm()).float(), candidate["layer"], float(raw.norm()))
            additions.append(doing.edits(self.scorer.model))
        layers = sorted({c["layer"] for c in candidates})
        found = self.scorer.scores(self.blocks[index], additions, stage, resume=layers)
        for candidate, (scores, _) in zip(candidates, found, strict=True):
            so_far = self.scores.setdefault(_key(candidate), [])
            so_far.append(scores)
            after = torch.cat(so_far)
            candidate["induce_score"], candidate["induce_n"] = float(after.mean()), len(after)
            if len(so_far) == len(self.blocks):
                rise = mean_interval((after - self.before).numpy())
                candidate["induce_rise"], candidate["induce_rise_low"] = rise.estimate, rise.low


def _key(candidate: Mapping[str, Any]) -> Place:
    return candidate["layer"], candidate["position"]


def ablations(model: ChatModel, means: Means, places: Sequence[Place]) -> list[Edits]:
    """The edits that ablate the candidate of each place, at every layer."""
    raws = [means.candidates[layer, means.positions.index(position)] for layer, position in places]
    return [
        Intervention("ablate", (raw / raw.norm()).float(), layer, where="all layers").edits(model)
        for raw, (layer, _) in zip(raws, places, strict=True)
    ]


def _score_ablation(
    scorer: Scorer, means: Means, candidates: list[dict[str, Any]], harmful: Plan, kept: dict[Place, Values]
) -> None:
    doings = ablations(scorer.model, means, [_key(c) for c in candidates])
    for candidate, (scores, _) in zip(candidates, scorer.scores(harmful, doings, "ablation scores"), strict=True):
        candidate["ablation_score"] = float(scores.mean())
        kept[_key(candidate)] = scores.numpy()


def _score_kl(
    scorer: Scorer,
    means: Means,
    candidates: list[dict[str, Any]],
    harmless: Plan,
    settings: FindSettings,
    kept: dict[Place, Values],
) -> None:
    """KL in order of ablation score, as many at once as the executor works on, until one passes: none after it is kept."""
    order = sorted(candidates, key=lambda c: c["ablation_score"])
    wave = len(order) if settings.all_kl else scorer.executor.wave
    for begin in range(0, len(order), max(wave, 1)):
        some = order[begin : begin + wave]
        doings = ablations(scorer.model, means, [_key(c) for c in some])
        found = scorer.scores(harmless, doings, "KL" if settings.all_kl else "", kl=True)
        for done, (candidate, (_, kl)) in enumerate(zip(some, found, strict=True)):
            assert kl is not None
            candidate["kl"] = float(kl.mean())
            kept[_key(candidate)] = kl.numpy()
            if not settings.all_kl:
                scorer.progress("KL", begin + done + 1, begin + done + 1)
                if candidate["kl"] <= settings.kl_max:
                    return


def planned(model: ChatModel, prompts: Sequence[Prompt]) -> Plan:
    """These prompts, laid out for the fast path."""
    return model.plan([p.text for p in prompts])
