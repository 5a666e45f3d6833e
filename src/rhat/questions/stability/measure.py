"""What is measured: is it one direction? Split halves, other draws, and what is left after ablating it."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rhat.interventions import Intervention, combine
from rhat.lab import Asked, Lab
from rhat.lab.rows import score_part
from rhat.questions.stability.rows import Rows
from rhat.selection.survey import SIDES
from rhat.statistics import judge, mean_interval

DRAWS = 20
ROUNDS = 3


def stability(lab: Lab) -> Rows:
    """Split-half cosines, cosines with r̂ of directions from bootstrap draws, and refits after ablation."""
    layer = lab.direction.layer
    sides = [lab.training[label][:, layer].double() for label in ("harmful", "harmless")]
    halves, draws = [], []
    for i in range(DRAWS):
        generator = torch.Generator().manual_seed(lab.seed * 1000 + i)
        orders = [torch.randperm(len(side), generator=generator) for side in sides]
        a, b = (sides[0][orders[0][h::2]].mean(0) - sides[1][orders[1][h::2]].mean(0) for h in (0, 1))
        halves.append(_cosine(a, b))
        picks = [torch.randint(len(side), (len(side),), generator=generator) for side in sides]
        draws.append(_cosine(sides[0][picks[0]].mean(0) - sides[1][picks[1]].mean(0), lab.direction.unit.double()))
    return Rows.of({"stability": {"split_half": halves, "seeds": draws, "refits": _refits(lab)}})


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def _refits(lab: Lab) -> list[dict[str, Any]]:
    """Ablate every direction found so far, find the difference of means again at the same place, and test it.

    induce: setting the new direction to its harmful mean, nothing ablated; prevent: ablating it and those before.
    """
    d, n = lab.direction, lab.sizes.sweep
    found: list[Float[Tensor, " d_model"]] = [d.unit]
    rows = [_tested(lab, 0, d.unit, d.norm, d.mean_harmful, found, n)]
    texts = {label: lab.finding.kept["train"][label][:128] for label in ("harmful", "harmless")}
    for step in range(1, ROUNDS + 1):
        ablation = combine([Intervention("ablate", u, d.layer, where="all layers") for u in found])
        edits = ablation.edits(lab.model)
        harmful, harmless = (
            lab.activations(texts[label], [d.layer], edits=edits)[:, 0].double().mean(0)
            for label in ("harmful", "harmless")
        )
        raw = harmful - harmless
        for unit in found:  # what rounding left of the ablated ones
            raw = raw - (raw @ unit.double()) * unit.double()
        unit = (raw / raw.norm()).float()
        found.append(unit)
        rows.append(_tested(lab, step, unit, float(raw.norm()), float(harmful @ unit.double()), found, n))
        lab.progress("stability", step, ROUNDS)
    return rows


def _tested(
    lab: Lab, step: int, unit: Tensor, norm: float, target: float, found: list[Tensor], n: int
) -> dict[str, Any]:
    layer = lab.direction.layer
    before, _ = lab.score(None, "harmless", n)
    induced, _ = lab.score(Intervention("set_projection", unit, layer, target), "harmless", n)
    more = mean_interval(induced - before, groups=lab.topics("harmless", n))
    ablation = combine([Intervention("ablate", u, layer, where="all layers") for u in found])
    prevented, _ = lab.score(ablation, "harmful", n)
    return {
        "round": step,
        "cosine_to_first": _cosine(unit.double(), lab.direction.unit.double()),
        "norm": norm,
        "induce": score_part(induced, lab.topics("harmless", n)),
        "prevent": score_part(prevented, lab.topics("harmful", n)),
        "verdict": judge((more.low, more.high)),
    }


def stability_cost(a: Asked) -> None:
    """Rounds of ablating what was found and finding again."""
    x = a.given
    a.training()
    x.scored(1 + ROUNDS, a.sweep())
    x.scored(1 + ROUNDS, a.sweep(), x.layer)
    x.scored(1 + ROUNDS, a.sweep("harmful"))
    for label in SIDES:
        x.scored(ROUNDS, x.some(label, 128, "train"), stop=x.layer, head=False)
