"""What a search will compute, in the ledger's own arithmetic, before any of it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rhat.generation.completions import SLOTS
from rhat.model.chat import ChatModel
from rhat.model.plans import Plan
from rhat.model.work import Work, work_of_blocks, work_of_vocabulary
from rhat.prompts import ContrastSet, Label, Prompt, Split
from rhat.scoring.tasks import ANSWERED
from rhat.selection.rules import cost_of
from rhat.selection.settings import FindSettings

# What a search meets on models that refuse; nobody knows before.
KEPT = {"harmful": 0.6, "harmless": 1.0}  # share of prompts on which the model behaves as labelled
REACH = (0.2, 0.16, 0.14)  # share of candidates that are still running after the first look, its second, and the others
PASSING = 0.07  # share of candidates that pass the published induce rule
# Where none does, or KL removes those, more of them run on, more are ablated, in blocks too, and more are tried by KL.
RELAXED_REACH = tuple(share + 0.2 for share in REACH)
RAISING = 0.5  # share of candidates that pass the relaxed induce rule
NEAR = (0.3, 0.1, 0.06)  # of these, the share that is still running after the looks at ablation scores
TRIED = 5  # candidates whose KL is measured until one passes
SCORES = ("induce scores", "ablation scores", "KL")
"""The stages of a search by the published rules, or the relaxed one."""
LAYER = 0.65  # where r̂ lies, as a share of the layers
COMMON = (
    0.54  # share of an answer's tokens that one more condition of the same batch has said before, from the beginning
)


@dataclass(frozen=True)
class Answers:
    """How long a model's answers are: a mean of `tokens` where they may have `limit`, which a share `cut` of them reached."""

    tokens: float
    limit: int
    cut: float

    def of_at_most(self, limit: int) -> float:
        """Their mean length where they may have so many tokens; what was cut off is taken to fill a higher limit."""
        return self.tokens + self.cut * (limit - self.limit) if limit > self.limit else min(self.tokens, limit)


LONG = Answers(24.0, 24, 1.0)  # longer than they are read


@dataclass(eq=False)
class Expected:
    """Adds up what is asked of a model: passes over prompts under conditions, and answers.

    layer    r̂'s, or where it is likely to be
    answers  how long answers are
    """

    model: ChatModel
    prompts: ContrastSet
    layer: int = -1
    answers: Answers = LONG
    total: Work = field(default_factory=Work)
    _plans: dict[tuple[str, ...], Plan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.layer < 0:
            self.layer = round(LAYER * self.model.n_layers)

    def some(self, label: Label, n: int | None = None, split: Split = "test", kept: bool = True) -> tuple[Prompt, ...]:
        """The first n prompts of a label and split: of training and validation, as many as the filter may keep."""
        found = self.prompts.select(label, split)
        if split != "test" and kept:
            found = found[: max(1, round(KEPT.get(label, 1.0) * len(found)))] if found else found
        return found[:n]

    def plan(self, prompts: Sequence[Prompt | str]) -> Plan:
        """These prompts laid out as they will be."""
        texts = tuple(p if isinstance(p, str) else p.text for p in prompts)
        if texts not in self._plans:
            self._plans[texts] = self.model.plan(list(texts))
        return self._plans[texts]

    def scored(
        self,
        conditions: float,
        prompts: Sequence[Prompt | str],
        start: int = 0,
        *,
        stop: int | None = None,
        head: bool = True,
    ) -> None:
        """Next-token logits of prompts under so many conditions, each edited from the block `start` on; up to `stop`, where
        no `head` follows."""
        if not prompts or conditions <= 0:
            return
        model, plan = self.model, self.plan(prompts)
        blocks = range(min(start, model.n_layers - 1), model.n_layers if stop is None else max(stop, 1))
        widest = max(batch.ids.numel() for batch in plan.batches)
        most = max(len(batch.ids) for batch in plan.batches)
        room = model.room
        at_once = max(1, min(2 * room["max_rows"] // most, room["max_tokens"] // widest, round(conditions)))
        done = Work()
        if plan.prefix_length:
            done += work_of_blocks(model, at_once, plan.prefix_length, plan.prefix_length, blocks, at_ends=0)
        for batch in plan.batches:
            rows, own = batch.ids.shape
            n = rows * at_once
            done += work_of_blocks(model, n, own, plan.prefix_length + own, blocks, at_ends=n)
        if head:
            done += work_of_vocabulary(model, len(plan) * at_once)
        self.total += done.times(conditions / at_once)

    def at_last_tokens(self, conditions: float, prompts: Sequence[Prompt], start: int = 0) -> None:
        """The same where edits are of last prompt tokens alone, which alone are run."""
        if not prompts:
            return
        plan, blocks = self.plan(prompts), range(min(start, self.model.n_layers - 1), self.model.n_layers)
        keys = max(map(len, plan.prompts))
        rows = max(1, min(2 * self.model.room["max_rows"], round(conditions * len(plan))))
        one = work_of_blocks(self.model, rows, 1, keys, blocks) + work_of_vocabulary(self.model, rows)
        self.total += one.times(conditions * len(plan) / rows)

    def answered(self, conditions: int, prompts: Sequence[Prompt], tokens: int, start: int = 0) -> None:
        """Answers of at most so many tokens under conditions in one batch; blocks below `start` run once for each prompt."""
        if not prompts or not conditions:
            return
        model, plan = self.model, self.plan(prompts)
        start = min(start, model.n_layers - 1) if conditions > 1 else 0
        for batch in plan.batches:
            rows, own = batch.ids.shape
            keys = plan.prefix_length + own
            if start:
                self.total += work_of_blocks(model, rows, own, keys, range(start))
            passes = max(1.0, conditions * batch.ids.numel() / model.room["max_tokens"])
            each = max(1, round(conditions * rows / passes))
            one = work_of_blocks(model, each, own, keys, range(start, model.n_layers), at_ends=each)
            self.total += one.times(conditions * rows / each)
        n = conditions * len(prompts)
        pieces = -(-n // ANSWERED)
        if shared := plan.prefix_length:  # in each piece, under each condition
            one = work_of_blocks(model, conditions, shared, shared, range(start, model.n_layers), at_ends=0)
            one += work_of_blocks(model, 1, shared, shared, range(start)) if start else Work()
            self.total += one.times(pieces)
        self.total += work_of_vocabulary(model, n)
        said = max(0.0, self.answers.of_at_most(tokens) - 1)
        keys = max(map(len, plan.prompts)) + round(said)
        rows = min(SLOTS, -(-n // pieces))
        common = COMMON * (conditions - 1) / conditions if start else 0.0
        step = work_of_blocks(model, rows, 1, keys, range(start)).times(1 - common) if start else Work()
        step += work_of_blocks(model, rows, 1, keys, range(start, model.n_layers)) + work_of_vocabulary(model, rows)
        self.total += step.times(said * n / rows)

    def lap(self) -> Work:
        """What was added up since the last lap."""
        done, self.total = self.total, Work()
        return done


def survey_work(given: Expected, settings: FindSettings) -> dict[str, Work]:
    """What a survey will compute: refusal tokens, the behaviour filter and the means."""
    listened = [given.some(label, settings.token_prompts, "train", kept=False) for label in ("harmful", "harmless")]
    given.answered(1, listened[0], settings.judged_tokens)
    given.answered(1, listened[1], 1)
    given.scored(1, [*listened[0], *listened[1]])
    found = {"refusal tokens": given.lap()}
    limits: tuple[tuple[Split, int | None], ...] = (("train", settings.train), ("validation", settings.validation))
    for split, limit in limits:
        for label in ("harmful", "harmless"):
            given.scored(1, given.some(label, limit, split, kept=False))
    return found | {"activations": given.lap()}


def search_work(given: Expected, settings: FindSettings, *, relaxed: bool = True) -> dict[str, Work]:
    """What each stage of a search will compute; by the published rules, whether they leave no candidate and the relaxed one
    chooses, which takes longer, or one passes. Nobody knows beforehand."""
    model = given.model
    found = survey_work(given, settings)
    harmless = given.some("harmless", settings.validation, "validation")
    rule_cost = cost_of(settings.rule)
    harmful = given.some("harmful", None, "validation", kept=False)[: settings.validation]
    harmful = harmful[: max(1, round(KEPT["harmful"] * len(harmful)))]
    if rule_cost is not None:
        rule_cost(given, settings, harmful, harmless)
        return found | {settings.rule: given.lap()}
    layers = range(1, max(2, int((1 - settings.skip_last) * model.n_layers)))
    positions = model.template_length
    look = 0 if settings.all_kl else settings.early_stopping
    for share, some in _blocks(harmless, look, RELAXED_REACH if relaxed else REACH):
        given.scored(1, some)  # the unedited run, whose lower blocks are kept
        for layer in layers:
            given.scored(share * positions, some, layer)
    induce, ablation, kl = SCORES
    found[induce] = given.lap()
    passing = max(1.0, (RAISING if relaxed else PASSING) * positions * len(layers))
    for share, some in _blocks(harmful, look, NEAR):
        given.scored(max(1.0, share * passing), some)
    found[ablation] = given.lap()
    given.scored(1, harmless)
    given.scored(passing if settings.all_kl else min(TRIED, passing) if relaxed else 1, harmless)
    found[kl] = given.lap()
    return found


def _blocks(prompts: Sequence[Prompt], look: int, reach: Sequence[float]) -> list[tuple[float, Sequence[Prompt]]]:
    """The blocks of prompts: the share of candidates that run each, and its prompts."""
    ends, n = [], len(prompts)
    while look and 3 * look <= 2 * n:
        ends.append(look)
        look *= 2
    shares = [1.0, *reach, *[reach[-1]] * len(ends)]
    return [(share, prompts[i:j]) for share, i, j in zip(shares, [0, *ends], [*ends, n], strict=False) if j > i]


def total(stages: Mapping[str, Work]) -> Work:
    """All stages together."""
    return sum(stages.values(), Work())
