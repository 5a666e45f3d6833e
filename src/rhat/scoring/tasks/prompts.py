"""The prompts of a task: their plan, and what the unedited model says after them, each worked out once a process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.executor import Worker
from rhat.model.chat import ChatModel
from rhat.model.logits import last_logits
from rhat.model.plans import Plan, followed

Prompts = tuple[tuple[int, ...], ...]


def planned(worker: Worker, prompts: Prompts, batches: Sequence[int] | None = None) -> Plan:
    """The plan of these prompts, or some batches of it; laid out once a process."""
    model: ChatModel = worker.model
    whole = worker.keep(("plan", prompts), lambda: model.lay_out(prompts))
    if batches is None or len(batches) == len(whole.batches):
        return whole
    return replace(whole, batches=tuple(whole.batches[i] for i in batches))


def scored(worker: Worker, prompts: Prompts, batches: Sequence[int] | None = None) -> tuple[ChatModel, Plan]:
    """The same model and plan as `at_answers`, of some batches."""
    return at_answers(worker.model, planned(worker, prompts, batches))


def at_answers(model: ChatModel, some: Plan) -> tuple[ChatModel, Plan]:
    """The model and the plan after whose prompts refusal scores and KL are taken: where an answer begins.

    A model that thinks begins all its answers alike, with a think block: its prompts are followed by an empty one.
    """
    more = empty_thoughts(model)
    return (model.at_once, followed(some, more, model.at_once.template_length)) if more else (model, some)


def empty_thoughts(model: ChatModel) -> tuple[int, ...]:
    """The tokens of an empty think block, for a model that thinks; none for others."""
    if model.at_once is model:
        return ()
    one = "Name a river."
    before, after = model.template.render(one), model.at_once.template.render(one)
    return after[len(before) :]


def batches_with(plan: Plan, rows: Sequence[int]) -> tuple[int, ...]:
    """Which batches of a plan hold any of these prompts."""
    wanted = set(rows)
    return tuple(i for i, batch in enumerate(plan.batches) if wanted & set(batch.rows.tolist()))


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
        found = [(rows.tolist(), logits.cpu()) for rows, logits in last_logits(*scored(worker, prompts, batches))]
        order = [row for rows, _ in found for row in rows]
        return Unedited(torch.cat([logits for _, logits in found]), {row: i for i, row in enumerate(order)})

    return worker.keep(("unedited", prompts, tuple(batches)), run)
