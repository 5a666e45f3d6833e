"""The rule by separation: the first layer at which harmful and harmless prompts are told apart as well as anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rhat.capture import captured
from rhat.selection.choice import Choice, chosen
from rhat.selection.search import Field, place_of
from rhat.sites import Site
from rhat.statistics import auroc


def first_auroc(given: Field) -> Choice:
    """The candidate of the lowest layer whose AUROC lies within the 95 % interval of the largest.

    The AUROC is that of the projections of harmful and of harmless validation prompts on the candidate, at its own layer and position,
    with DeLong's interval and topics as clusters. In that layer the largest AUROC is chosen, and of equals the first position. The rule
    looks at nothing that a model does: a direction that is read well need not be one that refusal goes by.

    Table: `scores` with `auroc`, `auroc_low` and `auroc_high`. Stored: `harmful_projection` and `harmless_projection`, residual units a prompt.
    """
    some = given.open
    sides = {label: _projections(given, label) for label in ("harmful", "harmless")}
    topics = tuple([p.topic or p.id for p in given.validation[label]] for label in sides)
    for label, found in sides.items():
        given.more[f"{label}_projection"] = {place_of(c): found[place_of(c)] for c in some}
    for candidate in some:
        at = place_of(candidate)
        area = auroc(sides["harmful"][at], sides["harmless"][at], groups=(topics[0], topics[1]))
        candidate["scores"] = {"auroc": area.estimate, "auroc_low": area.low, "auroc_high": area.high}
    given.lap("projections")
    statuses = list(given.statuses)
    if not some:
        return chosen(given.table, None, statuses, "first_auroc", ("zero_norm", "layer", "auroc"))
    least = max(some, key=lambda c: c["scores"]["auroc"])["scores"]["auroc_low"]  # of equals the first
    for i, candidate in enumerate(given.table):
        if statuses[i] == "kept" and candidate["scores"]["auroc"] < least:
            statuses[i] = "auroc"
    kept = [i for i, status in enumerate(statuses) if status == "kept"]
    best = min(kept, key=lambda i: (given.table[i]["layer"], -given.table[i]["scores"]["auroc"]))
    return chosen(given.table, best, statuses, "first_auroc", ("zero_norm", "layer", "auroc"))


def first_auroc_cost(expected: Any, settings: Any, harmful: Any, harmless: Any) -> None:
    """One pass over the validation prompts, up to the last layer that may be chosen."""
    stop = max(1, int((1 - settings.skip_last) * expected.model.n_layers))
    for some in (harmful, harmless):
        expected.scored(1, some, stop=stop, head=False)


def _projections(given: Field, label: str) -> dict[tuple[int, int], np.ndarray]:
    """Place → r̂·x of each prompt of a label, in their order: float64, residual-stream units."""
    model, plan, positions = given.scorer.model, given.plans[label], given.means.positions
    some = given.open
    found = {place_of(c): np.empty(len(plan)) for c in some}
    layers = sorted({c["layer"] for c in some})
    if not layers:
        return found
    units = {place_of(c): given.unit(c).double() for c in some}
    sites = {layer: Site("resid_pre", layer) for layer in layers}
    done = 0
    for rows, at in captured(model, plan, list(sites.values()), positions):
        for (layer, position), unit in units.items():
            x = at[sites[layer]][:, positions.index(position)].cpu().to(torch.float64)
            found[layer, position][rows.cpu().numpy()] = (x @ unit).numpy()
        done += len(rows)
        given.scorer.progress(f"projections, {label}", done, len(plan))
    return found
