"""Scores: prompts scored by log-odds of refusal tokens under one condition or many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.executor import Executor, Progress, Worker, cut
from rhat.model.chat import ChatModel
from rhat.model.clean_run import cache_clean_run
from rhat.model.conditions import chunks, last_logits_under
from rhat.model.edits import Edits, first_layer
from rhat.model.last_token import last_token_only
from rhat.model.plans import Plan
from rhat.scoring.drift import kl_divergence
from rhat.scoring.logodds import refusal_score
from rhat.scoring.tasks.prompts import Prompts, scored, unedited

BATCHES = 2  # of prompts, in one piece of work: what is kept as soon as it is done
RANGES = 8  # of batches, at most, where the unedited run of each is kept


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
    """Conditions on some batches of the plan, run in one pass; `rhat.model.conditions.chunks` says how many suit one."""

    conditions: tuple[Edits, ...]
    batches: range


@dataclass(frozen=True, eq=False)
class Scores:
    """Refusal scores (nats) of the prompts `rows`, and KL(base ‖ edited) of the next token; float64, on the CPU."""

    rows: Int[Tensor, " n"]
    scores: Float[Tensor, " n"]
    kl: Float[Tensor, " n"] | None


def score(worker: Worker, task: Scoring, run: Run) -> tuple[Scores, ...]:
    """Refusal scores of some batches under each condition."""
    model, some = scored(worker, task.prompts, run.batches)
    base = None
    ends = model.memory is None and all(last_token_only(edits, some) for edits in run.conditions)
    if ends or (task.resume and min(map(first_layer, run.conditions)) >= task.resume[0] and any(run.conditions)):
        layers = task.resume or (0,)
        base = worker.keep(
            ("base", task.prompts, run.batches, layers, ends),
            lambda: cache_clean_run(model, some, layers, keep_kv=ends),
        )
    before = unedited(worker, task.prompts, run.batches) if task.kl else None
    found: list[tuple[list[Tensor], list[Tensor], list[Tensor]]] = [([], [], []) for _ in run.conditions]
    for index, which, logits in last_logits_under(model, some, run.conditions, base):
        rows, scores, kl = found[index]
        rows.append(which.cpu())
        scores.append(refusal_score(logits, task.tokens).cpu())
        if before is not None:
            kl.append(kl_divergence(before.of(which.tolist()).to(logits.device), logits).cpu())
    return tuple(Scores(torch.cat(r), torch.cat(s), torch.cat(kl) if kl else None) for r, s, kl in found)


def score_all(
    executor: Executor,
    model: ChatModel,
    task: Scoring,
    plan: Plan,
    conditions: Sequence[Edits],
    shards: Sequence[range] | None = None,
    progress: Progress | None = None,
) -> list[tuple[Float[Tensor, " n"], Float[Tensor, " n"] | None]]:
    """Scores, and KL if asked for, of the prompts of a plan under each condition, in the prompts' order.

    `shards` are batches that are shared out (all in one by default), and cut into pieces of two batches. Progress counts
    conditions, times shards.
    """
    shards = cut([range(len(plan.batches))] if shards is None else shards, BATCHES, RANGES)
    together = chunks(model, plan, conditions)
    runs = [Run(tuple(conditions[i] for i in some), batches) for some in together for batches in shards]
    parts = executor.map(score, model, task, runs, sizes=[len(r.conditions) for r in runs], progress=progress)
    found = []
    for at, some in enumerate(together):
        mine = parts[at * len(shards) : (at + 1) * len(shards)]
        found += [in_order(len(plan), [part[i] for part in mine]) for i in range(len(some))]
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
