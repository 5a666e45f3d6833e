"""What one process does with a shard of the work: score prompts, let them be answered, read and average activations.

Each task is `task(worker, common, shard)`, for any executor. A shard is whole batches of a plan that is the same for
everybody, so that a prompt is run in the same company, and gives the same numbers, wherever it is run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.capture import Moments, capture, captured
from rhat.executor import Executor, Progress, Worker, cut
from rhat.generation import Completion
from rhat.model import keep_base
from rhat.model.chat import ChatModel
from rhat.model.edits import Edits, first_layer
from rhat.model.last_token import last_token_only
from rhat.model.logits import last_logits
from rhat.model.plans import Plan
from rhat.model.together import chunks, last_logits_under
from rhat.scoring.drift import kl_divergence
from rhat.scoring.logodds import refusal_score
from rhat.scoring.phrases import BUILT_IN, JUDGED_TOKENS, Phrases
from rhat.scoring.reading import Judging, judged
from rhat.scoring.refusals import refusals
from rhat.sites import Site

Prompts = tuple[tuple[int, ...], ...]
BATCHES = 2  # of prompts, in one piece of work: what is kept as soon as it is done
RANGES = 8  # of batches, at most, where the unedited run of each is kept
ANSWERED = (
    256  # rows at most that are answered in one piece: a place that becomes free is filled again, so that few wait
)


def planned(worker: Worker, prompts: Prompts, batches: Sequence[int] | None = None) -> Plan:
    """The plan of these prompts, or some batches of it; laid out once a process."""
    model: ChatModel = worker.model
    whole = worker.keep(("plan", prompts), lambda: model.lay_out(prompts))
    if batches is None or len(batches) == len(whole.batches):
        return whole
    return replace(whole, batches=tuple(whole.batches[i] for i in batches))


def _batches_with(the_plan: Plan, rows: Sequence[int]) -> tuple[int, ...]:
    """Which batches of a plan hold any of these prompts."""
    wanted = set(rows)
    return tuple(i for i, batch in enumerate(the_plan.batches) if wanted & set(batch.rows.tolist()))


@dataclass(frozen=True, eq=False)
class Unedited:
    """Next-token logits of some prompts under the unedited model, on the CPU, in the model's dtype."""

    logits: Float[Tensor, "n vocab"]
    at: Mapping[int, int]  # prompt → row of logits

    def of(self, rows: Sequence[int]) -> Float[Tensor, "rows vocab"]:
        """The logits of these prompts."""
        return self.logits[[self.at[row] for row in rows]]


def unedited(worker: Worker, prompts: Prompts, batches: Sequence[int]) -> Unedited:
    """What the unedited model says after the prompts of these batches; run once a process."""

    def run() -> Unedited:
        found = [
            (rows.tolist(), logits.cpu())
            for rows, logits in last_logits(worker.model, planned(worker, prompts, batches))
        ]
        order = [row for rows, _ in found for row in rows]
        return Unedited(torch.cat([logits for _, logits in found]), {row: i for i, row in enumerate(order)})

    return worker.keep(("unedited", prompts, tuple(batches)), run)


# Scoring by log-odds


@dataclass(frozen=True, eq=False)
class Scoring:
    """Prompts to be scored.

    tokens  refusal tokens
    resume  layers of which the unedited run is kept, rising: edits at or above the first of them start there
    kl      whether KL(base ‖ edited) is asked for
    """

    prompts: Prompts
    tokens: tuple[int, ...]
    resume: tuple[int, ...] = ()
    kl: bool = False


@dataclass(frozen=True, eq=False)
class Run:
    """Conditions on some batches of the plan, run in one pass; `rhat.model.together.chunks` says how many suit one."""

    conditions: tuple[Edits, ...]
    batches: range


@dataclass(frozen=True, eq=False)
class Scores:
    """Refusal scores (nats) of the prompts `rows`, and KL(base ‖ edited) of the next token; float64, on the CPU."""

    rows: Int[Tensor, " n"]
    scores: Float[Tensor, " n"]
    kl: Float[Tensor, " n"] | None


def score(worker: Worker, asked: Scoring, run: Run) -> tuple[Scores, ...]:
    """Refusal scores of some batches under each condition."""
    some = planned(worker, asked.prompts, run.batches)
    base = None
    ends = worker.model.memory is None and all(last_token_only(edits, some) for edits in run.conditions)
    if ends or (asked.resume and min(map(first_layer, run.conditions)) >= asked.resume[0] and any(run.conditions)):
        layers = asked.resume or (0,)
        base = worker.keep(
            ("base", asked.prompts, run.batches, layers, ends),
            lambda: keep_base(worker.model, some, layers, keep_kv=ends),
        )
    before = unedited(worker, asked.prompts, run.batches) if asked.kl else None
    found: list[tuple[list[Tensor], list[Tensor], list[Tensor]]] = [([], [], []) for _ in run.conditions]
    for index, which, logits in last_logits_under(worker.model, some, run.conditions, base):
        rows, scores, kl = found[index]
        rows.append(which.cpu())
        scores.append(refusal_score(logits, asked.tokens).cpu())
        if before is not None:
            kl.append(kl_divergence(before.of(which.tolist()).to(logits.device), logits).cpu())
    return tuple(Scores(torch.cat(r), torch.cat(s), torch.cat(kl) if kl else None) for r, s, kl in found)


def score_all(
    executor: Executor,
    model: ChatModel,
    asked: Scoring,
    the_plan: Plan,
    conditions: Sequence[Edits],
    shards: Sequence[range] | None = None,
    progress: Progress | None = None,
) -> list[tuple[Float[Tensor, " n"], Float[Tensor, " n"] | None]]:
    """Scores, and KL if asked for, of the prompts of a plan under each condition, in the prompts' order.

    `shards` are batches that are shared out (all in one by default), and cut into pieces of two batches. Progress counts
    conditions, times shards.
    """
    shards = cut([range(len(the_plan.batches))] if shards is None else shards, BATCHES, RANGES)
    together = chunks(model, the_plan, conditions)
    runs = [Run(tuple(conditions[i] for i in some), batches) for some in together for batches in shards]
    parts = executor.map(score, model, asked, runs, sizes=[len(r.conditions) for r in runs], progress=progress)
    found = []
    for at, some in enumerate(together):
        mine = parts[at * len(shards) : (at + 1) * len(shards)]
        found += [in_order(len(the_plan), [part[i] for part in mine]) for i in range(len(some))]
    return found


def in_order(n: int, parts: Sequence[Scores]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"] | None]:
    """Scores and KL of n prompts in the prompts' order, from those of the shards."""
    scores = torch.empty(n, dtype=torch.float64)
    kl = torch.empty(n, dtype=torch.float64) if parts and parts[0].kl is not None else None
    for part in parts:
        scores[part.rows] = part.scores
        if kl is not None and part.kl is not None:
            kl[part.rows] = part.kl
    return scores, kl


# Answers


@dataclass(frozen=True, eq=False)
class Answering:
    """How prompts are answered.

    tokens      refusal tokens, if the first token's scores are asked for
    kl_prompts  the first of all prompts, of which KL(base ‖ edited) of the next token is asked for
    stop_early  whether a row stops once its verdict is settled
    phrases     what answers are read with, where they are not judged
    harmless    whether what is answered may be written to disk with its words; else verdicts and numbers alone may
    judging     how answers are judged, if they are
    """

    tokens: tuple[int, ...] = ()
    kl_prompts: Prompts = ()
    max_new_tokens: int = JUDGED_TOKENS
    stop_early: bool = True
    phrases: Phrases = BUILT_IN
    harmless: bool = False
    judging: Judging | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """Some prompts and what is done to them; `rows` says which of all prompts they are, `own` what is done to each alone."""

    rows: tuple[int, ...]
    prompts: Prompts
    edits: Edits
    own: tuple[Edits, ...] | None = None


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers to the prompts `rows`; scores are NaN where none were asked for, kl where it was not.

    Where they are judged, verdicts are classes, and panel, hashes and shorter are as in `rhat.scoring.reading.Judged`.
    """

    rows: tuple[int, ...]
    completions: tuple[Completion, ...]
    verdicts: tuple[str, ...]
    scores: Float[Tensor, " n"]
    kl: Float[Tensor, " n"]
    panel: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    hashes: tuple[str, ...] = ()
    shorter: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def wordless(self) -> Answers:
        """The same without a word of the answers."""
        return replace(self, completions=tuple(replace(c, text="", tokens=()) for c in self.completions))


def answer(worker: Worker, asked: Answering, group: Group) -> Answers:
    """Greedy answers to a group of prompts, judged."""
    n = len(group.rows)
    scores, kl = (torch.full((n,), torch.nan, dtype=torch.float64) for _ in range(2))
    known = [row for row in group.rows if row < len(asked.kl_prompts)]
    before = None
    if known:
        before = unedited(worker, asked.kl_prompts, _batches_with(planned(worker, asked.kl_prompts), known))

    def first(which: list[int], logits: Tensor) -> None:
        if asked.tokens:
            scores[which] = refusal_score(logits, asked.tokens).cpu()
        if before is not None:
            at = [i for i, local in enumerate(which) if group.rows[local] in before.at]
            if at:
                base = before.of([group.rows[which[i]] for i in at]).to(logits.device)
                kl[[which[i] for i in at]] = kl_divergence(base, logits[at]).cpu()

    done = refusals(
        worker.model,
        group.prompts,
        group.edits,
        first_logits=first,
        max_new_tokens=asked.max_new_tokens,
        stop_early=asked.stop_early,
        phrases=asked.phrases,
        progress=lambda finished, _total: worker.tell(finished),
        own_edits=group.own,
    )
    if asked.judging is None:
        return Answers(group.rows, done.completions, done.verdicts, scores, kl)
    read = judged(worker, asked.judging, group.rows, done.completions)
    return Answers(group.rows, done.completions, read.classes, scores, kl, read.panel, read.hashes, read.shorter)


def groups(
    the_plan: Plan, shards: Sequence[range], edits: Edits, own: Sequence[Sequence[Edits]] | None = None
) -> list[Group]:
    """The prompts of a plan in groups, each in the prompts' order, within the shards of its batches and of 256 rows at most.

    `own` holds the conditions under which each prompt is answered: the edits that each deals out to the prompts in turn.
    A group then holds its prompts once for each condition, one condition after the other.
    """
    most = max(1, ANSWERED // len(own or ((),)))
    found = []
    for shard in shards:
        all_rows = sorted(row for i in shard for row in the_plan.batches[i].rows.tolist())
        for some in cut([range(len(all_rows))], most):
            rows = tuple(all_rows[i] for i in some)
            prompts = tuple(the_plan.prompts[row] for row in rows)
            if own is None:
                found.append(Group(rows, prompts, edits))
                continue
            dealt = tuple(each[row % len(each)] for each in own for row in rows)
            found.append(Group(rows * len(own), prompts * len(own), edits, dealt))
    return found


# Activations


@dataclass(frozen=True, eq=False)
class Reading:
    """Prompts whose resid_pre is read at one position and some layers, under edits."""

    prompts: Prompts
    layers: tuple[int, ...]
    position: int
    edits: Edits


def read(worker: Worker, asked: Reading, batches: range) -> tuple[Int[Tensor, " n"], Float[Tensor, "n layer d_model"]]:
    """(which prompts, their activations), float32, on the CPU."""
    sites = [Site("resid_pre", layer) for layer in asked.layers]
    rows: list[Tensor] = []
    found: list[Tensor] = []

    some = planned(worker, asked.prompts, batches)
    for which, at in captured(worker.model, some, sites, [asked.position], asked.edits):
        rows.append(which.cpu())
        found.append(torch.stack([at[site][:, 0].float().cpu() for site in sites], 1))
    return torch.cat(rows), torch.cat(found)


@dataclass(frozen=True, eq=False)
class Averaging:
    """Prompts whose resid_pre is averaged at every layer and template position, if they behave as labelled.

    tokens    refusal tokens
    refusing   True: those with a score above the threshold are kept; False: those with one below
    moments    False: scores only
    threshold  the score (nats) from which on a prompt counts as refused
    """

    prompts: Prompts
    tokens: tuple[int, ...]
    refusing: bool
    moments: bool
    threshold: float = 0.0


@dataclass(frozen=True, eq=False)
class Averaged:
    """Scores of the prompts `rows`, and the moments [layer, position, d_model] of the kept ones of even and of odd number."""

    rows: Int[Tensor, " n"]
    scores: Float[Tensor, " n"]
    halves: tuple[Moments, Moments] | None


def average(worker: Worker, asked: Averaging, batches: range) -> Averaged:
    """Scores and moments of some batches, added up in order; nothing of single prompts but their scores is kept."""
    model: ChatModel = worker.model
    positions = tuple(range(-model.template_length, 0))
    sites = [Site("resid_pre", layer) for layer in range(model.n_layers)]
    some = planned(worker, asked.prompts, batches)
    rows: list[Tensor] = []
    scores: list[Tensor] = []
    halves = [zero(model) for _ in range(2)]
    done = 0

    def visit(which: Tensor, logits: Tensor, activations: Mapping[Site, Tensor]) -> None:
        nonlocal done
        value = refusal_score(logits, asked.tokens)
        rows.append(which.cpu())
        scores.append(value.cpu())
        if activations:
            right = (value > asked.threshold) if asked.refusing else (value < asked.threshold)
            stacked = torch.stack(
                [activations[site].to(model.device).double() for site in sites], 1
            )  # [rows, layer, k, d]
            for half in (0, 1):
                inside = (right & (which.to(right.device) % 2 == half)).to(model.device)
                if bool(inside.any()):
                    halves[half] = halves[half] + Moments.of(stacked[inside])
        done += len(which)
        worker.tell(done)

    if asked.moments:
        capture(model, some, sites, positions, visit)
        here = [Moments(half.count, half.total.cpu(), half.squares.cpu()) for half in halves]
        return Averaged(torch.cat(rows), torch.cat(scores), (here[0], here[1]))
    for which, logits in last_logits(model, some):
        visit(which, logits, {})
    return Averaged(torch.cat(rows), torch.cat(scores), None)


def zero(model: ChatModel) -> Moments:
    """Moments of nothing, [layer, template position, d_model]."""
    shape = (model.n_layers, model.template_length, model.d_model)
    nothing = torch.zeros(shape, dtype=torch.float64, device=model.device)
    return Moments(0, nothing, nothing)
