"""COSMIC: which candidate turns harmful activations into harmless ones, and harmless into harmful. No refusal tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rhat.model.edits import Edits
from rhat.scoring import tasks
from rhat.selection.choice import Choice, chosen
from rhat.selection.search import Field, place_of

SHARE = 0.1  # of the layers: those where the two means are least alike
AT_ONCE = 8  # candidates in one piece of work


def cosmic(given: Field) -> Choice:
    """The candidate with the largest COSMIC score, among those whose KL is small enough; of equals the first.

    Its score is cos(harmful with c ablated, harmless) + cos(harmless with c added, harmful), between −2 and 2. Each is a mean activation of
    validation prompts at the last token, the inputs of the chosen blocks joined to one vector: the tenth of blocks (at
    least one), the first aside, at whose input the unedited means are least alike. KL(base ‖ ablated) on harmless prompts is measured
    in order of the score until one passes. Siu et al. 2025, who have outputs of blocks, and compare means over the layers too in their code.

    Table: `scores` with `cosmic`, `cosmic_ablate` and `cosmic_induce`. Stored: `cosmic`, the last two.
    """
    inside = range(1, given.n_layers)
    plain = {label: _means(given, label, [{}], inside)[0] for label in ("harmful", "harmless")}
    layers = [inside[i] for i in least_alike(plain["harmful"], plain["harmless"])]
    harmful, harmless = (plain[label][[layer - 1 for layer in layers]] for label in ("harmful", "harmless"))
    some = given.open
    ablated = _means(given, "harmful", given.ablated(some), layers, "COSMIC, ablated")
    begins = sorted({c["layer"] for c in some})
    added = _means(given, "harmless", given.added(some), layers, "COSMIC, added", begins)
    table = given.more["cosmic"] = {}
    for candidate, without, with_it in zip(some, ablated, added, strict=True):
        ablate, induce = _cosine(without, harmless), _cosine(with_it, harmful)
        candidate["scores"] = {"cosmic": ablate + induce, "cosmic_ablate": ablate, "cosmic_induce": induce}
        table[place_of(candidate)] = np.array([ablate, induce])
    given.lap("COSMIC")
    order = sorted(some, key=lambda c: -c["scores"]["cosmic"])
    given.score_kl(order)
    given.lap("KL")
    return best_by_kl(given, order, "cosmic")


def cosmic_cost(expected: Any, settings: Any, harmful: Any, harmless: Any) -> None:
    """Every candidate ablated on harmful prompts and added on harmless ones, from its own layer on, up to three quarters of the blocks;
    and some KL."""
    layers = range(1, max(2, int((1 - settings.skip_last) * expected.model.n_layers)))
    n = expected.model.template_length * len(layers)
    stop = round(0.75 * expected.model.n_layers)
    expected.scored(n, harmful, stop=stop, head=False)
    expected.scored(1, harmless, stop=stop, head=False)
    for layer in (one for one in layers if one < stop):
        expected.scored(expected.model.template_length, harmless, layer, stop=stop, head=False)
    expected.scored(n if settings.all_kl else 3, harmless)


def least_alike(
    harmful: Float[Tensor, "layer d_model"], harmless: Float[Tensor, "layer d_model"], share: float = SHARE
) -> list[int]:
    """The layers (rows) of lowest cosine between the two means: that share of them, rounded up; of equals the first. Rising."""
    cosines = torch.nn.functional.cosine_similarity(harmful.double(), harmless.double(), dim=1)
    n = max(1, int(np.ceil(round(share * len(cosines), 9))))  # 0.1 · 30 is more than 3 in floating point
    return sorted(cosines.argsort(stable=True)[:n].tolist())


def best_by_kl(given: Field, order: Sequence[dict[str, Any]], rule: str) -> Choice:
    """The first in this order whose KL is small enough; nothing comes before it whose KL is not known."""
    limit = given.settings.kl_max
    rank = {place_of(c): i for i, c in enumerate(order)}
    statuses = list(given.statuses)
    for i, candidate in enumerate(given.table):
        if place_of(candidate) in rank:
            kl = candidate.get("kl")
            statuses[i] = "unevaluated" if kl is None else "kl" if kl > limit else "kept"
    kept = [i for i, status in enumerate(statuses) if status == "kept"]
    best = min(kept, key=lambda i: rank[place_of(given.table[i])], default=None)
    return chosen(given.table, best, statuses, rule, ("zero_norm", "layer", "kl"))


def _means(
    given: Field,
    label: str,
    conditions: Sequence[Edits],
    layers: Sequence[int],
    stage: str = "",
    begins: Sequence[int] = (),
) -> list[Float[Tensor, "layer d_model"]]:
    """Mean activations at the last token of the prompts of a label under each condition, float64; conditions begin at some layers,
    where these are known."""
    scorer, plan = given.scorer, given.plans[label]
    asked = tasks.Summing(plan.prompts, tuple(layers), -1, tuple(layer for layer in begins if layer < max(layers)))
    runs = [
        tasks.Run(tuple(conditions[i : i + AT_ONCE]), batches)
        for i in range(0, len(conditions), AT_ONCE)
        for batches in scorer.executor.split(len(plan.batches))
    ]

    def tell(done: int, total: int) -> None:
        if stage:
            scorer.progress(stage, done, total)

    sizes = [len(run.conditions) for run in runs]
    parts = scorer.executor.map(tasks.sums, scorer.model, asked, runs, sizes=sizes, progress=tell)
    each = len(scorer.executor.split(len(plan.batches)))
    sums = [sum(parts[at + 1 : at + each], parts[at]) for at in range(0, len(parts), each)]
    return [one / len(plan) for some in sums for one in some]


def _cosine(a: Float[Tensor, "layer d_model"], b: Float[Tensor, "layer d_model"]) -> float:
    return float(torch.nn.functional.cosine_similarity(a.reshape(-1), b.reshape(-1), dim=0))
