"""What is measured: dose and response."""

from __future__ import annotations

from typing import Any

import numpy as np

from rhat.interventions import add, set_projection
from rhat.lab import Asked, Lab
from rhat.lab.rows import kl_part, rate_part, score_part
from rhat.questions.dose_response.rows import Rows
from rhat.statistics.paired_doses import half_effect_of_prompts

SHARES = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 2.0)  # of the gap, from the harmless mean


def dose_response(lab: Lab) -> Rows:
    """Targets from well below the harmless mean to well above the harmful one: refusals and KL; and adding beside it.

    A target is the harmless mean plus a share of the gap; adding aims at the same target with that share of the gap.
    """
    d, n = lab.direction, lab.sizes.sweep
    rows: list[dict[str, Any]] = []
    targets = [d.mean_harmless + share * lab.gap for share in SHARES]
    names = ["set_projection" if share == 1 else f"set:{share:g}" for share in SHARES]
    treatments = {name: set_projection(d, target) for name, target in zip(names, targets, strict=True)}
    measured = lab.measure_conditions(treatments, "harmless", n, kl=True, stage="dose_response")
    added = lab.score_conditions(
        [add(d, share * lab.gap) for share in SHARES], "harmless", n, kl=True, stage="dose_response, adding"
    )
    for name, share, target, (scores, kl) in zip(names, SHARES, targets, added, strict=True):
        m = measured[name]
        rows += [
            {
                "op": "set_projection",
                "target": target,
                **score_part(m.scores, m.topics),
                **rate_part(m.refused, m.topics),
                **kl_part(m.kl),
            },
            {
                "op": "add",
                "target": target,
                "coefficient": share * lab.gap,
                **score_part(scores, lab.topics("harmless", n)),
                **kl_part(kl),
            },
        ]
    part: dict[str, Any] = {"dose": rows}
    answers = np.stack([measured[name].refused for name in names])
    half = half_effect_of_prompts(targets, answers, lab.topics("harmless", answers.shape[1]), seed=lab.seed)
    if half is not None:
        part["half_effect"] = [
            {
                "op": "set_projection",
                "dose": half.estimate,
                "ci_low": half.low,
                "ci_high": half.high,
                "unit": "residual units",
            }
        ]
    return Rows.of(part)


def dose_response_cost(a: Asked) -> None:
    """Setting to many targets by generation, adding by log-odds."""
    x = a.given
    new = len(SHARES) - (not a.once(("set_projection", "harmless")))
    x.answered(new, a.sweep(), a.tokens, x.layer)
    x.scored(2, a.sweep())
    x.scored(len(SHARES), a.sweep(), x.layer)
