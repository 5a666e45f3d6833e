"""Finding r̂: from a contrast set to the chosen direction, on training and validation prompts only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import inf
from pathlib import Path
from typing import Any, Literal

import torch

from rhat.directions import Direction
from rhat.directions.finders import check_finder
from rhat.executor import Executor, SerialExecutor
from rhat.model.chat import ChatModel
from rhat.model.work import counting
from rhat.prompts import ContrastSet, Prompt
from rhat.reprs import Table, html_table
from rhat.scoring import RefusalToken
from rhat.scoring.keeping import Counting, Keeping
from rhat.scoring.phrases import Phrases
from rhat.scoring.pieces import Pieces
from rhat.selection.behaviour import mean_over_all
from rhat.selection.borderline import refused_borderline
from rhat.selection.choice import Choice
from rhat.selection.means import Means
from rhat.selection.rules import check_rule
from rhat.selection.saving import load_finding, save_finding
from rhat.selection.scored import Scored
from rhat.selection.search import Scorer, search
from rhat.selection.settings import FindSettings, Progress
from rhat.selection.survey import Clock, Survey, survey
from rhat.selection.vectors import Groups, told_of, with_finder
from rhat.selection.watching import watched
from rhat.sites import Site
from rhat.vocabulary import RULE_KINDS

Outcome = Literal["found", "found_relaxed", "no_candidate", "no_refusal"]


@dataclass(frozen=True, eq=False, repr=False)
class Finding:
    """What `find` found: the direction (None when there is none), and what led to it.

    survey             what was known before any candidate was scored
    candidates         one row a candidate, with its scores and what the rules made of it
    rule, removed      the rule that chose, and how many candidates each part of it removed
    baseline_induce    mean refusal score of harmless validation prompts, unedited
    timings, work      seconds of each stage of the search, after those of the survey, and what each computed
    scored             the candidates' scores, prompt by prompt; None where none were scored
    """

    outcome: Outcome
    sentence: str
    direction: Direction | None
    candidates: tuple[dict[str, Any], ...] = ()
    survey: Survey = field(default_factory=Survey)
    rule: str = "published"
    removed: Mapping[str, int] = field(default_factory=dict)
    split_half_cosine: float | None = None
    baseline_induce: float | None = None
    timings: tuple[tuple[str, float], ...] = ()
    work: Mapping[str, Mapping[str, int | float]] = field(default_factory=dict)
    scored: Scored | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", Table(self.candidates))

    def __repr__(self) -> str:
        return f"Finding({self.outcome}: {self.sentence})"

    def _repr_html_(self) -> str:
        return html_table(self.candidates, self.sentence)

    def save(self, path: str | Path) -> Path:
        """Write it to one file, with the ids of its prompts and not their texts; `Finding.load` reads it.

        Raises:
            ArtifactError: if it cannot be written.
        """
        return save_finding({f.name: getattr(self, f.name) for f in fields(self)}, path)

    @classmethod
    def load(cls, path: str | Path, prompts: ContrastSet) -> Finding:
        """Read what `save` wrote; `prompts` are those that it was found with.

        Raises:
            ArtifactError: if the file is missing, is no finding, or was made from other prompts.
        """
        return cls(**load_finding(path, prompts))

    @classmethod
    def unrefused(cls, survey: Survey) -> Finding:
        """There is no refusal to study."""
        return cls("no_refusal", survey.why_not, None, (), survey, timings=survey.timings, work=survey.work)

    @property
    def refusal_tokens(self) -> tuple[RefusalToken, ...]:
        """First tokens of refusals."""
        return self.survey.refusal_tokens

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Ids of the refusal tokens."""
        return self.survey.token_ids

    @property
    def prompts(self) -> Mapping[str, Mapping[str, Mapping[str, int]]]:
        """Split → label → how many prompts were given, and kept."""
        return self.survey.prompts

    @property
    def kept(self) -> Mapping[str, Mapping[str, tuple[Prompt, ...]]]:
        """Split → label → the prompts on which the model behaves as labelled."""
        return self.survey.kept

    @property
    def means(self) -> Means | None:
        """Means of both sides, and the candidates; None where there is no refusal to study."""
        return self.survey.means

    @property
    def response_prefix(self) -> str:
        """The text after which answers begin in all that was measured."""
        return self.survey.response_prefix

    @property
    def phrases(self) -> Phrases:
        """What answers were read with."""
        return self.survey.phrases

    @property
    def markup(self) -> str:
        """A sentence on the markup before answers; empty if there is none."""
        return self.survey.markup

    @property
    def openings(self) -> tuple[tuple[str, int], ...]:
        """Commonest openings of answers to harmful training prompts, and how often each was said."""
        return self.survey.openings


@counting()
def find(
    model: ChatModel,
    prompts: ContrastSet,
    settings: FindSettings | None = None,
    *,
    progress: Progress | None = None,
    executor: Executor | None = None,
    pieces: Pieces | None = None,
) -> Finding:
    """Find the refusal direction of a chat model by difference of means and the published selection, or another finder and rule.

    Training prompts give the candidates (every layer and template position), validation prompts the choice; only prompts
    on which the model behaves as labelled are used (harmful: refusal score above a threshold, fitted on judged answers to
    training prompts; harmless: below). Test prompts are not
    touched. Arditi et al. 2024, sections 2.3 to 2.5 and appendix C. `executor` says who runs prompts and candidates; by
    default this process does. `progress(stage, done, total)` is told how far it is; by default bars show it in terminals and
    notebooks. `pieces` keep completed work at once, so that the same search resumes where it stopped.

    Raises:
        StudyError: if the contrast set has fewer than two prompts of a label in a split that is needed.
        StudyError: if there is no such rule.
        ContrastError: if there is no such finder, or what it needs is missing.
    """
    if progress is None:
        with watched() as shown:
            return find(model, prompts, settings, progress=shown, executor=executor, pieces=pieces)
    settings = settings or FindSettings()
    kind, _ = check_finder(settings.finder), check_rule(settings.rule)
    executor = Counting(executor or SerialExecutor())
    surveyed = survey(model, prompts, settings, progress=progress, executor=executor, pieces=pieces)
    if surveyed.means is None:
        return Finding.unrefused(surveyed)
    clock = Clock()
    model = model.with_response_prefix(surveyed.response_prefix)
    if pieces is not None:
        executor = Keeping(executor, pieces)
    scorer = Scorer(model, executor, surveyed.token_ids, progress)
    means, kept = surveyed.means, surveyed.kept
    if kind is not None and kind.positive == "borderline":
        kept = refused_borderline(scorer, prompts, kept, means)
    groups = Groups.of(settings.finder, kept["train"], surveyed.kept["train"]["harmful"], settings.vector)
    if settings.finder != "mean_difference":
        means = with_finder(model, means, groups, settings.finder, progress)
        clock.lap("candidates")
    choice, scored = search(scorer, means, kept["validation"], settings, clock.lap)
    outcome, sentence = _outcome(model, choice, settings)
    finding = Finding(
        outcome,
        f"{sentence}. {surveyed.markup}" if surveyed.markup else sentence,
        None,
        choice.table,
        surveyed,
        choice.rule,
        choice.removed,
        baseline_induce=float(scored.before.mean()),
        scored=scored,
        timings=(*surveyed.timings, *clock.stages),
        work={**surveyed.work, **clock.work},
    )
    if choice.candidate is None:
        return finding
    layer, position = choice.candidate["layer"], choice.candidate["position"]
    direction = direction_at(model, means, layer, position, prompts.fingerprint, settings.finder)
    everybody = prompts.select("harmful", "train", settings.train)
    about: dict[str, Any] = {
        "rule": choice.rule,
        "score_threshold": means.threshold,
        "mean_harmful_all": mean_over_all(model, direction, everybody, executor),
        **told_of(model, groups, settings.finder, layer, position),
    }
    if kept is not surveyed.kept:
        about["borderline_prompts"] = [p.id for split in kept for p in kept[split]["harmful"]]
    return replace(
        finding,
        direction=replace(direction, extra={**direction.extra, **settings.reading(), **about}),
        survey=replace(surveyed, means=means, kept=kept),
        split_half_cosine=split_half(means, layer, position),
    )


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


def split_half(means: Means, layer: int, position: int) -> float | None:
    """Cosine of the two directions found on halves of the training prompts; None where a half gave none."""
    at = means.positions.index(position)
    a, b = (half[layer, at] for half in means.halves)
    if not bool(a.any() and b.any()):
        return None
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def _outcome(model: ChatModel, choice: Choice, settings: FindSettings) -> tuple[Outcome, str]:
    removed = ", ".join(f"{name} {count}" for name, count in choice.removed.items() if count)
    rules = RULE_KINDS[choice.rule].label
    if choice.candidate is None:
        rules = "the rules, published or relaxed" if choice.rule in ("published", "relaxed") else rules
        return "no_candidate", f"no candidate direction of {model.name} passes {rules} (removed by: {removed})"
    where = f"layer {choice.candidate['layer']}, position {choice.candidate['position']}"
    if choice.rule != "relaxed":
        return "found", f"r̂ of {model.name} is at {where}, by {rules} (removed by: {removed})"
    if settings.rule == "relaxed":
        return "found_relaxed", f"r̂ of {model.name} is at {where}, by {rules}, as asked (removed by: {removed})"
    met = any(row.get("induce_score", -inf) > settings.induce_min for row in choice.table)  # then KL removed it
    missed = "all published thresholds" if met else "the published induce threshold"
    return "found_relaxed", (
        f"r̂ of {model.name} is at {where}, by the relaxed rule: no candidate meets {missed}, so adding "
        f"it need only raise the refusal score of harmless prompts significantly (removed by: {removed})"
    )
