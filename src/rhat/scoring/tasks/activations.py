"""Activations: read at one position, or averaged over the prompts on which the model behaves as labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rhat.capture import Moments, capture, captured
from rhat.executor import Worker
from rhat.model.chat import ChatModel
from rhat.model.clean_run import CleanRun, cache_clean_run
from rhat.model.edits import Edits, first_layer
from rhat.model.logits import last_logits
from rhat.model.precision import wide
from rhat.scoring.logodds import refusal_score
from rhat.scoring.tasks.prompts import Prompts, empty_thoughts, planned, scored
from rhat.scoring.tasks.scores import Run
from rhat.sites import Site


@dataclass(frozen=True, eq=False)
class Reading:
    """Prompts whose resid_pre is read at one position and some layers, under edits."""

    prompts: Prompts
    layers: tuple[int, ...]
    position: int
    edits: Edits


def read(worker: Worker, task: Reading, batches: range) -> tuple[Int[Tensor, " n"], Float[Tensor, "n layer d_model"]]:
    """(which prompts, their activations), float32, on the CPU."""
    sites = [Site("resid_pre", layer) for layer in task.layers]
    rows: list[Tensor] = []
    found: list[Tensor] = []

    some = planned(worker, task.prompts, batches)
    for which, at in captured(worker.model, some, sites, [task.position], task.edits):
        rows.append(which.cpu())
        found.append(torch.stack([at[site][:, 0].float().cpu() for site in sites], 1))
    return torch.cat(rows), torch.cat(found)


@dataclass(frozen=True, eq=False)
class Summing:
    """Prompts whose resid_pre is added up at one position and some layers, rising, under conditions.

    resume  layers of which the unedited run is kept, rising: a condition whose edits begin there is run from there on
    """

    prompts: Prompts
    layers: tuple[int, ...]
    position: int
    resume: tuple[int, ...] = ()


def sums(worker: Worker, task: Summing, run: Run) -> Float[Tensor, "condition layer d_model"]:
    """Sums over the prompts of some batches under each condition, float64, on the CPU.

    Layers below the first that a condition edits have the sums of the unedited model, which are worked out once.
    """
    sites = [Site("resid_pre", layer) for layer in task.layers]
    some = planned(worker, task.prompts, run.batches)
    clean: CleanRun | None = None
    if task.resume:
        clean = worker.keep(
            ("sums", task.prompts, run.batches, task.resume), lambda: cache_clean_run(worker.model, some, task.resume)
        )
    found = torch.zeros(len(run.conditions), len(sites), worker.model.d_model, dtype=torch.float64)

    def summed(these: Sequence[Site], edits: Edits) -> Float[Tensor, "layer d_model"]:
        total = torch.zeros(len(these), worker.model.d_model, dtype=torch.float64)
        for _, at in captured(worker.model, some, these, [task.position], edits, clean):
            total += torch.stack([at[site][:, 0].cpu().double().sum(0) for site in these])
        return total

    for i, edits in enumerate(run.conditions):
        below = sum(site.layer < first_layer(edits) for site in sites) if clean is not None else 0
        if below:
            key = ("plain sums", task.prompts, run.batches, task.layers, task.position)
            found[i, :below] = worker.keep(key, lambda: summed(sites, {}))[:below]
        if below < len(sites):
            found[i, below:] = summed(sites[below:], edits)
        worker.tell(i + 1)
    return found


@dataclass(frozen=True, eq=False)
class Averaging:
    """Prompts whose resid_pre is averaged at every layer and template position, if they behave as labelled.

    tokens    refusal tokens
    refusing   True: those with a score above the threshold are kept; False: those with one below
    moments    False: scores only
    threshold  the score (nats) from which on a prompt counts as refused
    before     how many tokens before the template's are averaged as well
    """

    prompts: Prompts
    tokens: tuple[int, ...]
    refusing: bool
    moments: bool
    threshold: float = 0.0
    before: int = 0


@dataclass(frozen=True, eq=False)
class Averaged:
    """Scores of the prompts `rows`, and the moments [layer, position, d_model] of the kept ones of even and of odd number."""

    rows: Int[Tensor, " n"]
    scores: Float[Tensor, " n"]
    halves: tuple[Moments, Moments] | None


def average(worker: Worker, task: Averaging, batches: range) -> Averaged:
    """Scores and moments of some batches, added up in order; nothing of single prompts but their scores is kept."""
    model, some = scored(worker, task.prompts, batches)
    after = len(empty_thoughts(worker.model))  # tokens that are there for the score alone
    positions = tuple(range(-worker.model.template_length - task.before - after, -after))
    sites = [Site("resid_pre", layer) for layer in range(model.n_layers)]
    rows: list[Tensor] = []
    scores: list[Tensor] = []
    halves = [zero(model, len(positions)) for _ in range(2)]
    done = 0

    def visit(which: Tensor, logits: Tensor, activations: Mapping[Site, Tensor]) -> None:
        nonlocal done
        value = refusal_score(logits, task.tokens)
        rows.append(which.cpu())
        scores.append(value.cpu())
        if activations:
            right = (value > task.threshold) if task.refusing else (value < task.threshold)
            # [rows, layer, k, d]
            stacked = torch.stack([wide(activations[site].to(model.device)) for site in sites], 1)
            for half in (0, 1):
                inside = (right & (which.to(right.device) % 2 == half)).to(stacked.device)
                if bool(inside.any()):
                    halves[half] = halves[half] + Moments.of(stacked[inside])
        done += len(which)
        worker.tell(done)

    if task.moments:
        capture(model, some, sites, positions, visit)
        here = [Moments(half.count, half.total.cpu(), half.squares.cpu()) for half in halves]
        return Averaged(torch.cat(rows), torch.cat(scores), (here[0], here[1]))
    for which, logits in last_logits(model, some):
        visit(which, logits, {})
    return Averaged(torch.cat(rows), torch.cat(scores), None)


def zero(model: ChatModel, positions: int) -> Moments:
    """Moments of nothing, [layer, position, d_model]."""
    shape = (model.n_layers, positions, model.d_model)
    nothing = wide(torch.zeros(shape, device=model.device))
    return Moments(0, nothing, nothing)
