"""The candidates of a search: what is measured of them, and the choice by a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from rhat.errors import StudyError
from rhat.executor import Executor
from rhat.interventions import Intervention
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits
from rhat.model.plans import Plan
from rhat.prompts import Prompt
from rhat.scoring import tasks
from rhat.selection.choice import Choice
from rhat.selection.means import Means
from rhat.selection.racing import Race, looks
from rhat.selection.rules import rule_named
from rhat.selection.scored import Place, Scored, Values
from rhat.selection.settings import FindSettings, Progress


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


@dataclass(eq=False)
class Field:
    """The candidates of a search, and what was measured of them: what a selection rule is given.

    validation  label → the kept validation prompts that candidates are scored on
    lap         called with the name of a stage that has ended
    table       one row a candidate, layer by layer: `position`, `layer`, `norm`, and the scores it was given since. A rule of another
                kind than the published one puts its own under `scores`
    induce, ablation, kl, more   as in `Scored`
    """

    scorer: Scorer
    means: Means
    validation: Mapping[str, Sequence[Prompt]]
    settings: FindSettings
    lap: Callable[[str], None]
    table: list[dict[str, Any]] = field(init=False)
    induce: dict[Place, Values] = field(default_factory=dict)
    ablation: dict[Place, Values] = field(default_factory=dict)
    kl: dict[Place, Values] = field(default_factory=dict)
    more: dict[str, dict[Place, Values]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        candidates = self.means.candidates
        self.table = [
            {"position": p, "layer": layer, "norm": float(candidates[layer, i].norm())}
            for layer in range(self.n_layers)
            for i, p in enumerate(self.means.positions)
        ]

    @property
    def n_layers(self) -> int:
        """Layers of the model."""
        return self.scorer.model.n_layers

    @cached_property
    def statuses(self) -> list[str]:
        """What becomes of each candidate whatever the rule: "zero_norm", "layer", or "kept" for those that are open to it."""
        first_skipped = int((1 - self.settings.skip_last) * self.n_layers)
        return [
            "zero_norm" if c["norm"] == 0 else "layer" if c["layer"] >= first_skipped else "kept" for c in self.table
        ]

    @property
    def open(self) -> list[dict[str, Any]]:
        """The candidates that a rule may choose."""
        return [c for c, status in zip(self.table, self.statuses, strict=True) if status == "kept"]

    @cached_property
    def plans(self) -> dict[str, Plan]:
        """Label → its validation prompts, laid out."""
        return {label: planned(self.scorer.model, self.validation[label]) for label in ("harmful", "harmless")}

    @cached_property
    def before(self) -> Values:
        """Refusal scores of harmless prompts, unedited."""
        return self.scorer.scores(self.plans["harmless"], [{}])[0][0].numpy()

    def unit(self, candidate: Mapping[str, Any]) -> Tensor:
        """Its unit vector, float32."""
        raw = self.means.candidates[candidate["layer"], self.means.positions.index(candidate["position"])]
        unit: Tensor = (raw / raw.norm()).float()
        return unit

    def added(self, candidates: Sequence[Mapping[str, Any]]) -> list[Edits]:
        """The edits that add each candidate at its own layer, as long as it was found."""
        treatments = [Intervention("add", self.unit(c), c["layer"], c["norm"]) for c in candidates]
        return [treatment.edits(self.scorer.model) for treatment in treatments]

    def ablated(self, candidates: Sequence[Mapping[str, Any]]) -> list[Edits]:
        """The edits that ablate each candidate at every layer."""
        return ablations(self.scorer.model, self.means, [place_of(c) for c in candidates])

    def score_ablation(self, candidates: Sequence[dict[str, Any]]) -> None:
        """Give candidates their `ablation_score`."""
        found = self.scorer.scores(self.plans["harmful"], self.ablated(candidates), "ablation scores")
        for candidate, (scores, _) in zip(candidates, found, strict=True):
            candidate["ablation_score"] = float(scores.mean())
            self.ablation[place_of(candidate)] = scores.numpy()

    @cached_property
    def race(self) -> Race:
        """Ablation scores in blocks of harmful prompts; one block if every score is asked for."""
        prompts, model = self.validation["harmful"], self.scorer.model
        blocks = looks(len(prompts), 0 if self.settings.all_kl else self.settings.early_stopping)
        plans = [planned(model, prompts[at.start : at.stop]) for at in blocks]

        def take(places: Sequence[Place], index: int) -> list[Values]:
            stage = "ablation scores" if index == len(plans) - 1 else f"ablation scores, block {index + 1}"
            found = self.scorer.scores(plans[index], ablations(model, self.means, places), stage)
            return [scores.numpy() for scores, _ in found]

        return Race(blocks, take)

    def race_ablation(self, candidates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Give candidates their `ablation_score` over `ablation_n` prompts, and those that are not clearly behind over all: these,
        the lowest first."""
        finalists = self.race.finalists([place_of(c) for c in candidates])
        for candidate in candidates:
            values = self.ablation[place_of(candidate)] = self.race.values(place_of(candidate))
            candidate["ablation_score"], candidate["ablation_n"] = float(values.mean()), len(values)
        by_place = {place_of(c): c for c in candidates}
        return [by_place[place] for place in finalists]

    def score_kl(self, order: Sequence[dict[str, Any]]) -> None:
        """Give candidates their `kl`, in this order, as many at once as the executor works on, until one passes: none after it
        is measured, unless all are asked for."""
        every = self.settings.all_kl
        wave = len(order) if every else self.scorer.executor.wave
        for begin in range(0, len(order), max(wave, 1)):
            some = order[begin : begin + wave]
            found = self.scorer.scores(self.plans["harmless"], self.ablated(some), "KL" if every else "", kl=True)
            for done, (candidate, (_, kl)) in enumerate(zip(some, found, strict=True)):
                assert kl is not None
                candidate["kl"] = float(kl.mean())
                self.kl[place_of(candidate)] = kl.numpy()
                if not every:
                    self.scorer.progress("KL", begin + done + 1, begin + done + 1)
                    if candidate["kl"] <= self.settings.kl_max:
                        return


def search(
    scorer: Scorer,
    means: Means,
    validation: Mapping[str, Sequence[Prompt]],
    settings: FindSettings,
    lap: Callable[[str], None],
) -> tuple[Choice, Scored]:
    """Score candidates and choose, by the rule that the settings name.

    Gives the choice, and every score that it was made by.
    """
    given = Field(scorer, means, validation, settings, lap)
    choice = rule_named(settings.rule)(given)
    return choice, Scored(given.before, given.induce, given.ablation, given.kl, given.more)


def place_of(candidate: Mapping[str, Any]) -> Place:
    """Its layer and position."""
    return candidate["layer"], candidate["position"]


def ablations(model: ChatModel, means: Means, places: Sequence[Place]) -> list[Edits]:
    """The edits that ablate the candidate of each place, at every layer."""
    raws = [means.candidates[layer, means.positions.index(position)] for layer, position in places]
    return [
        Intervention("ablate", (raw / raw.norm()).float(), layer, where="all layers").edits(model)
        for raw, (layer, _) in zip(raws, places, strict=True)
    ]


def planned(model: ChatModel, prompts: Sequence[Prompt]) -> Plan:
    """These prompts, laid out for the fast path."""
    return model.plan([p.text for p in prompts])
