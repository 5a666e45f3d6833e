"""Seen: what one visit to a model brings home, so that only one model needs to be in memory at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from rhat.capture import Moments
from rhat.diff.rows import Side
from rhat.diff.settings import MEAN_PROMPTS, DiffSettings
from rhat.diff.weights import Lengths, lengths
from rhat.directions import Direction
from rhat.errors import DirectionError
from rhat.executor import Executor, SerialExecutor, cut
from rhat.interventions import Intervention
from rhat.lab import Lab, Measurement
from rhat.model.chat import ChatModel
from rhat.prompts import LABELS, ContrastSet
from rhat.reprs import one_line
from rhat.scoring import tasks
from rhat.scoring.keeping import Keeping
from rhat.scoring.pieces import Pieces
from rhat.selection.finding import Finding, find
from rhat.selection.settings import FindSettings, Progress
from rhat.selection.survey import SIDES, Survey


@dataclass(frozen=True, eq=False)
class Under:
    """One r̂ in one model.

    unfit      why it cannot be used there; everything else is empty then
    projected  label → projections of the test prompts, residual units
    set_to     harmless test prompts with r̂ set to its own harmful mean; None where that mean is unknown
    target     that mean
    lengths    r̂'s length in every matrix that writes, and what could not be read
    """

    unfit: str = ""
    projected: Mapping[str, np.ndarray] = field(default_factory=dict)
    set_to: Measurement | None = None
    target: float = 0.0
    lengths: Sequence[Lengths] = ()
    unread: Sequence[str] = ()

    __repr__ = one_line


@dataclass(frozen=True, eq=False)
class Seen:
    """One model, as far as a comparison needs it; no weights.

    described  what `ChatModel.describe` says
    finding    r̂, found or given, with what led to it
    answers    label → judged answers to the test prompts
    halves     label → mean resid_pre [layer, position, d_model] of training prompts of even and of odd number
    under      whose r̂ → what it is in this model
    """

    described: Mapping[str, Any]
    finding: Finding
    answers: Mapping[str, Measurement]
    halves: Mapping[str, tuple[Float[Tensor, "layer k d"], Float[Tensor, "layer k d"]]]
    under: Mapping[Side, Under] = field(default_factory=dict)

    __repr__ = one_line

    @property
    def direction(self) -> Direction | None:
        """Its r̂, if it has one."""
        return self.finding.direction


@dataclass(eq=False)
class Visit:
    """A model that is in memory now, and what is asked of it.

    side    A or B
    pieces  where finished work is kept; None: nowhere
    """

    side: Side
    model: ChatModel
    prompts: ContrastSet
    settings: DiffSettings
    find: FindSettings
    progress: Progress
    pieces: Pieces | None = None

    def see(self, given: Direction | None) -> Seen:
        """Everything that concerns this model alone: r̂ (unless given), its answers, and means of training prompts."""
        finding = self._finding(given)
        lab = self._lab(finding)
        answers: dict[str, Measurement] = {}
        for label in LABELS:
            n = self.settings.sizes.tested(label)
            if lab.test(label, n):
                answers[label] = lab.measure(self.side, None, label, n)
        return Seen(lab.model.describe(), finding, answers, self._halves(lab))

    def under(self, seen: Seen, whose: Side, direction: Direction) -> Seen:
        """The same, with an r̂ (its own, or the other model's) projected on, set, and looked for in the weights."""
        lab = self._lab(seen.finding)
        found = self._under(lab, whose, direction)
        return replace(seen, under={**seen.under, whose: found})

    def _finding(self, given: Direction | None) -> Finding:
        if given is None:
            return find(self.model, self.prompts, self.find, progress=self.progress, pieces=self.pieces)
        model = self.model.for_direction(given.check_fits(self.model))
        sentence = f"r̂ of {model.name} was given: layer {given.layer}, position {given.position}"
        read = FindSettings.read_as(given).phrases
        return Finding("found", sentence, given, (), Survey(response_prefix=model.response_prefix, phrases=read))

    def _lab(self, finding: Finding) -> Lab:
        return Lab(
            self.model.with_response_prefix(finding.response_prefix),
            self.prompts,
            finding,
            self.settings.sizes,
            self.settings.seed,
            self.settings.margin,
            self.progress,
            self._executor(),
            judged_tokens=self.settings.judged_tokens,
        )

    def _executor(self) -> Executor:
        serial = SerialExecutor()
        return serial if self.pieces is None else Keeping(serial, self.pieces)

    def _halves(self, lab: Lab) -> dict[str, tuple[Tensor, Tensor]]:
        """Means over the same training prompts in both models, refused or not, so that only the models differ."""
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for label in SIDES:
            some = self.prompts.select(label, "train", MEAN_PROMPTS)
            plan = lab.model.plan([p.text for p in some])
            any_token = (min(lab.model.eos_ids, default=0),)  # its score is above −∞: all prompts count
            asked = tasks.Averaging(plan.prompts, any_token, True, True, float("-inf"))
            shards = cut(lab.executor.split(len(plan.batches)), tasks.BATCHES)
            parts = lab.executor.map(
                tasks.average,
                lab.model,
                asked,
                shards,
                sizes=[sum(len(plan.batches[i].rows) for i in shard) for shard in shards],
                progress=lambda done, total, label=label: self.progress(f"means, {label}", done, total),  # type: ignore[misc]
            )
            sums: list[Moments] = [sum((p.halves[h] for p in parts[1:]), parts[0].halves[h]) for h in (0, 1)]
            found[label] = (sums[0].mean, sums[1].mean)
        return found

    def _under(self, lab: Lab, whose: Side, direction: Direction) -> Under:
        model = lab.model
        if unfit := misfit(direction, model):
            return Under(unfit)
        projected: dict[str, np.ndarray] = {}
        for label in LABELS:
            if some := lab.test(label, self.settings.sizes.tested(label)):
                at = lab.activations(some, [direction.layer], direction.position)
                projected[label] = direction.project(at[:, 0]).numpy()
        target = direction.means[0]
        answered = None
        n = self.settings.sizes.sweep
        if target is not None and lab.test("harmless", n):
            treatment = Intervention("set_projection", direction.unit, direction.layer, target)
            answered = lab.measure(f"{self.side}, r̂ of {whose} set", treatment, "harmless", n)
        found, unread = lengths(
            model,
            direction.unit[None],
            randoms=self.settings.randoms,
            seed=self.settings.seed,
            progress=lambda done, total: self.progress(f"weights along r̂ of {whose}", done, total),
        )
        return Under("", projected, answered, target or 0.0, found, unread)


def misfit(direction: Direction, model: ChatModel) -> str:
    """Why a direction cannot be read and set in a model; empty where it can, whichever model it was found on."""
    width = len(direction.unit)
    if width != model.d_model:
        return f"it is {width} wide, and {model.name} {model.d_model}"
    if direction.site.kind != "resid_pre" or direction.layer >= model.n_layers:
        return f"it is at {direction.site}, and {model.name} has layers 0 to {model.n_layers - 1}"
    if not -model.template_length - 1 <= direction.position < 0:  # the first is the instruction's last token
        return f"it was read at position {direction.position}, and {model.name} has {model.template_length} template tokens"
    return ""


def check_given(direction: Direction, model: ChatModel) -> None:
    """Raise unless a given direction fits its own model.

    Raises:
        DirectionError: saying what does not fit.
    """
    direction.check_fits(model)
    if why := misfit(direction, model.for_direction(direction)):
        raise DirectionError(f"direction of {model.name}: {why}; find r̂ with `rhat find`")
