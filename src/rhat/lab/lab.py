"""The lab: a model, its r̂ and prompts, and the measurements that experiments share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rhat.directions import Direction
from rhat.errors import StudyError
from rhat.executor import Executor, SerialExecutor
from rhat.interventions import AnyIntervention, Intervention
from rhat.lab.activated import Activated
from rhat.lab.controls import Controls
from rhat.lab.judged import Judged
from rhat.lab.measurement import KL_PROMPTS, Label, Measurement, RotatedControls, Treatment, put_together, topics_of
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits
from rhat.model.plans import Plan
from rhat.prompts import UNSAFE, ContrastSet, Prompt
from rhat.reprs import one_line
from rhat.scoring import tasks
from rhat.scoring.judges import Judge
from rhat.selection.finding import Finding
from rhat.selection.means import Means
from rhat.selection.settings import Progress
from rhat.vocabulary import JUDGED_TOKENS, Preset


@dataclass(eq=False)
class Lab(Activated, Controls, Judged):
    """What every experiment needs. Experiments are plain functions of a lab that return parts of results.json.

    judged_tokens, splits  tokens of each answer that are read; splits that r̂ is found on, this one among them
    panel, keep_answers  further judges of each answer, and who is given the answers (nobody)
    executor  who runs prompts: `score`, `measure`, their `…_each` and `activations` go through it
    """

    model: ChatModel
    prompts: ContrastSet
    finding: Finding
    sizes: Preset
    seed: int = 0
    margin: float = 0.10
    progress: Progress = lambda _stage, _done, _total: None
    executor: Executor = field(default_factory=SerialExecutor)
    judged_tokens: int = JUDGED_TOKENS
    panel: tuple[Judge, ...] = ()
    keep_answers: Callable[[dict[str, str]], None] | None = None
    splits: int = 1
    measurements: dict[tuple[str, Label], Measurement] = field(default_factory=dict)
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    _plans: dict[tuple[Label, str, int], Plan] = field(default_factory=dict)

    __repr__ = one_line

    # Prompts

    def test(self, label: Label, n: int | None = None) -> tuple[Prompt, ...]:
        """The first n test prompts of a label; none of them took part in finding or choosing r̂."""
        return self.prompts.select(label, "test", n)  # type: ignore[arg-type]

    def topics(self, label: Label, n: int | None = None) -> tuple[str, ...]:
        """The topics of `test(label, n)`: prompts of one topic are not independent."""
        return topics_of(self.test(label, n))

    @property
    def direction(self) -> Direction:
        """r̂, the direction that is studied."""
        if self.finding.direction is None:
            raise StudyError(f"no direction to study: {self.finding.sentence}")
        return self.finding.direction

    @property
    def means(self) -> Means:
        """Training means of both sides at every layer and template position."""
        if self.finding.means is None:
            raise StudyError("this finding holds no means; run `rhat find` or `rhat study` again")
        return self.finding.means

    @property
    def tokens(self) -> tuple[int, ...]:
        """Refusal token ids."""
        return self.finding.token_ids

    def plan(self, label: Label, n: int, split: str = "test") -> Plan:
        """The first n prompts of a label and split, laid out for the fast path."""
        key = (label, split, n)
        if key not in self._plans:
            self._plans[key] = self.model.plan([p.text for p in self.prompts_of(label, n, split)])
        return self._plans[key]

    def prompts_of(self, label: Label, n: int, split: str = "test") -> tuple[Prompt, ...]:
        """The first n prompts of a label and split; of training and validation, those that the filter kept."""
        if split == "test":
            return self.test(label, n)
        return self.finding.kept[split][label][:n]

    # Measurements

    def edits(self, treatment: Treatment) -> Edits:
        """The edits of an intervention, of ready edits, or of nothing."""
        if isinstance(treatment, AnyIntervention):
            return treatment.edits(self.model)
        return {} if treatment is None else treatment

    def score(
        self, treatment: Treatment, label: Label, n: int, split: str = "test", *, kl: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Refusal scores (nats) of the first n prompts under an intervention, and KL(base ‖ edited) if asked for."""
        [found] = self.score_conditions([treatment], label, n, split, kl=kl)
        return found

    def score_conditions(
        self,
        treatments: Sequence[Treatment],
        label: Label,
        n: int,
        split: str = "test",
        *,
        kl: bool = False,
        stage: str = "",
    ) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """`score` of many interventions on the same prompts, several in one pass."""
        plan = self.plan(label, n, split)
        layers = sorted({self.direction.layer, self.direction.layer // 2})  # r̂'s and one a few below
        asked = tasks.Scoring(plan.prompts, self.tokens, tuple(layers), kl)
        shards = self.executor.split(len(plan.batches))

        def tell(done: int, total: int) -> None:
            if stage:
                self.progress(stage, done, total)

        conditions = [self.edits(treatment) for treatment in treatments]
        return [
            (scores.numpy(), None if divergence is None else divergence.numpy())
            for scores, divergence in tasks.score_all(
                self.executor, self.model, asked, plan, conditions, shards, progress=tell
            )
        ]

    def measure(
        self,
        condition: str,
        treatment: Treatment,
        label: Label,
        n: int | None = None,
        *,
        kl: bool = False,
        describe: Mapping[str, Any] | None = None,
        max_new_tokens: int | None = None,
        lengths: Sequence[int] = (),
    ) -> Measurement:
        """Refusals by generation of the first n test prompts under a condition, with their scores; measured once.

        `kl` also takes KL(base ‖ edited), from the baseline's logits of the same prompts. Every answer is generated to its
        end or to `max_new_tokens` (`judged_tokens`), and the judge reads all of that: after a refusal help may follow, which makes it partial. `lengths` asks for the classes after fewer tokens too.
        """
        prompts = self.test(label, n)
        known = self._known(condition, label, len(prompts), kl)
        if known is not None:
            return known
        self.describe(condition, treatment, describe)
        plan = self.plan(label, len(prompts))
        asked = tasks.Answering(
            self.tokens,
            plan.prompts[:KL_PROMPTS] if kl else (),
            max_new_tokens or self.judged_tokens,
            stop_early=False,
            harmless=label not in UNSAFE,
            judging=self.judging(prompts, lengths),
        )
        groups = tasks.groups(plan, self.executor.split(len(plan.batches)), self.edits(treatment))
        [result] = self.answered([condition], label, prompts, asked, groups, f"{condition}, {label}")
        return self._keep(result).first(len(prompts))

    def measure_conditions(
        self,
        treatments: Mapping[str, Treatment | RotatedControls],
        label: Label,
        n: int | None = None,
        *,
        kl: bool = False,
        describe: Mapping[str, Mapping[str, Any]] | None = None,
        stage: str = "",
    ) -> dict[str, Measurement]:
        """`measure` of several conditions on the same prompts, answered in one batch that rows of all of them share.

        `describe` says more of some conditions; `stage` is what progress is told under.
        """
        prompts = self.test(label, n)
        missing = {
            name: treatment for name, treatment in treatments.items() if not self._known(name, label, len(prompts), kl)
        }
        plan = self.plan(label, len(prompts))
        if missing:
            own = [
                self._own_edits(name, treatment, (describe or {}).get(name, {})) for name, treatment in missing.items()
            ]
            known = plan.prompts[:KL_PROMPTS] if kl else ()
            judging = self.judging(prompts)
            asked = tasks.Answering(
                self.tokens, known, self.judged_tokens, stop_early=False, harmless=label not in UNSAFE, judging=judging
            )
            groups = tasks.groups(plan, self.executor.split(len(plan.batches)), {}, own)
            stage = stage or f"{', '.join(missing)}, {label}"
            for result in self.answered(list(missing), label, prompts, asked, groups, stage):
                self._keep(result)
        return {name: self.measurements[name, label].first(len(prompts)) for name in treatments}

    def _own_edits(
        self, condition: str, treatment: Treatment | RotatedControls, said: Mapping[str, Any]
    ) -> list[Edits]:
        """The edits that a condition deals out to the prompts in turn; what it stands for is kept."""
        if not isinstance(treatment, RotatedControls):
            self.describe(condition, treatment, said)
            return [self.edits(treatment)]
        self.describe(condition, treatment.treatments[0], {"direction": "random", **said})
        return [self.edits(one) for one in treatment.treatments]

    def _known(self, condition: str, label: Label, n: int, kl: bool) -> Measurement | None:
        """What was measured of this before, if it is enough."""
        known = self.measurements.get((condition, label))
        if known is None or len(known.verdicts) < n:
            return None
        if kl and (known.kl is None or len(known.kl) < min(n, KL_PROMPTS)):
            return None
        return known.first(n)

    def _keep(self, m: Measurement) -> Measurement:
        """Keep what was measured, and of the same condition what was measured before where it says more: its prompts, or its KL."""
        known = self.measurements.get((m.condition, m.label))
        if known is not None and len(known.verdicts) > len(m.verdicts):  # it was measured again for KL alone
            m = replace(known, kl=m.kl)
        elif known is not None and m.kl is None:
            m = replace(m, kl=known.kl)
        self.measurements[m.condition, m.label] = m
        return m

    def answered(
        self,
        conditions: Sequence[str],
        label: Label,
        prompts: Sequence[Prompt],
        asked: tasks.Answering,
        groups: Sequence[tasks.Group],
        stage: str,
    ) -> list[Measurement]:
        """One measurement a condition; each group holds its prompts once for each, one condition after the other."""
        shape = len(conditions), len(prompts)
        scores, kl = np.empty(shape), np.empty(shape)
        parts: dict[tuple[int, int], tuple[tasks.Answers, int]] = {}
        for part in self.executor.map(
            tasks.answer,
            self.model,
            asked,
            groups,
            sizes=[len(group.rows) for group in groups],
            progress=lambda done, total: self.progress(stage, done, total),
        ):
            which = np.repeat(np.arange(len(conditions)), len(part.rows) // len(conditions))
            at = which, np.array(part.rows)
            scores[at], kl[at] = part.scores.numpy(), part.kl.numpy()
            parts |= {(int(i), row): (part, place) for place, (i, row) in enumerate(zip(which, part.rows, strict=True))}
        found = []
        for i, name in enumerate(conditions):
            mine = [parts[i, row] for row in range(len(prompts))]
            known = kl[i, : len(asked.kl_prompts)] if asked.kl_prompts else None
            m = put_together(name, label, prompts, mine, scores[i], known)
            self.handed_on(m, prompts)
            found.append(m)
        return found

    def describe(self, condition: str, treatment: Treatment, said: Mapping[str, Any] | None = None) -> None:
        """Keep what a condition id stands for."""
        row: dict[str, Any] = {"op": "none"}
        if isinstance(treatment, Intervention):
            row = treatment.describe(self.model.layout) | {"direction": "rhat"}
            row["sites"] = [row["sites"]]
        self.conditions[condition] = row | dict(said or {})

    def record(self, measurement: Measurement, description: Mapping[str, Any]) -> Measurement:
        """Keep a measurement that an experiment put together from others, and what its condition stands for."""
        self.conditions[measurement.condition] = dict(description)
        self.measurements[measurement.condition, measurement.label] = measurement
        return measurement
