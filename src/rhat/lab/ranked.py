"""Controls that match: directions of four kinds, at the displacement of r̂'s edit and at its damage; r̂'s effect as a rank among them.

At equal displacement a random direction does a hundredth of r̂'s damage, and so proves little; at equal damage it must do something else
with a disturbance of the same size. The p value is that of a permutation test: (1 + controls that reach r̂'s effect) / (1 + controls)
(Phipson and Smyth 2010, doi 10.2202/1544-6115.1585).
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from rhat.artifacts.ranks import control_ranks
from rhat.interventions import Intervention, ablate
from rhat.lab import Lab
from rhat.lab.matching import Maker, matched_doses

Row = dict[str, Any]
OPERATORS = ("set_projection", "add", "ablate")
PROMPTS = 16  # test prompts on which effects are measured
SEARCHED = 8  # validation prompts on which doses are searched
FEW = 6, 4  # of each
ROUNDS = 3


def matched_controls(lab: Lab) -> dict[str, list[Row]]:
    """Effects of r̂ and of each control direction under each operator, and r̂'s ranks.

    The effect is the mean change of the refusal score against the unedited model, in the direction that the edit is for: up on
    harmless prompts for setting and adding, down on harmful ones for ablating (at every layer, where a control subtracts as much).
    """
    rows: list[Row] = []
    ranks: list[Row] = []
    units = lab.control_units()
    for op in OPERATORS:
        mine = _under(lab, op, units)
        rows += mine
        ranks += control_ranks(op, mine)
    return {"matched_controls": rows, "control_ranks": ranks}


def spent_on(op: str, preset: str) -> tuple[int, int]:
    """Test prompts for effects and validation prompts for doses; ablating runs every layer, and in the standard preset gets few of both.

    Fewer prompts make each effect noisier and leave the p value what it is: directions are what is permuted.
    """
    return FEW if (op, preset) == ("ablate", "standard") else (PROMPTS, SEARCHED)


def _shift(lab: Lab, op: str) -> float:
    """The shift that r̂'s edit makes along it, in residual units; below 0 where it adds a harmful mean that is."""
    return lab.gap if op == "set_projection" else lab.direction.mean_harmful


def _maker(lab: Lab, op: str, unit: Float[Tensor, " d_model"]) -> Maker:
    """A control's edit by its dose: the size of a shift that goes the way of r̂'s."""
    d, way = lab.direction, -1.0 if _shift(lab, op) < 0 else 1.0
    if op == "set_projection":
        start = lab.random_target(unit) - lab.gap
        return lambda dose: Intervention(op, unit, d.layer, start + way * dose)
    if op == "add":
        return lambda dose: Intervention(op, unit, d.layer, way * dose)
    return lambda dose: Intervention("subtract", unit, d.layer, way * dose, where="all layers")


def _under(lab: Lab, op: str, units: dict[str, list[Tensor]]) -> list[Row]:
    label = "harmful" if op == "ablate" else "harmless"
    sign = -1.0 if op == "ablate" else 1.0
    made = [(kind, i, _maker(lab, op, unit)) for kind, some in units.items() for i, unit in enumerate(some)]
    shift, way = abs(_shift(lab, op)), -1.0 if _shift(lab, op) < 0 else 1.0
    real = ablate(lab.direction) if op == "ablate" else _maker(lab, op, lab.direction.unit)(shift)
    prompts, searches = spent_on(op, lab.sizes.name)
    n_searched = min(searches, len(lab.finding.kept["validation"]["harmless"]))
    [(_, searched)] = lab.score_conditions([real], "harmless", n_searched, "validation", kl=True)
    assert searched is not None
    stage = f"controls, {op}"
    target = max(float(searched.mean()), 1e-6)
    found = matched_doses(
        lab,
        [maker for *_, maker in made],
        [shift] * len(made),
        target,
        "harmless",
        n_searched,
        rounds=ROUNDS,
        stage=stage,
    )
    doses = {"displacement": [shift] * len(made), "damage": [one.dose for one in found]}
    before, _ = lab.score(None, label, min(lab.sizes.sweep, prompts))
    rows = []
    for match, at in doses.items():
        treatments = [real, *(maker(dose) for (*_, maker), dose in zip(made, at, strict=True))]
        names = [
            ("rhat", 0, shift, searched.mean()),
            *((kind, i, dose, one.kl) for (kind, i, *_), dose, one in zip(made, at, found, strict=True)),
        ]
        scored = lab.score_conditions(treatments, label, len(before), stage=stage)
        for (kind, i, dose, kl), (scores, _) in zip(names, scored, strict=True):
            effects = sign * (scores - before)
            row = {"op": op, "match": match, "kind": kind, "seed": i, "prompts": label, "dose": way * float(dose)}
            row |= {"effect": float(effects.mean()), "effects": effects.tolist(), "n": len(effects)}
            if match == "damage" or kind == "rhat":
                row |= {"kl_mean": float(kl)}
            rows.append(row)
    return rows
