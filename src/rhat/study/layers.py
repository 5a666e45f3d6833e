"""Question 1, why: setting beside adding at every layer, and set's effect predicted from add's dose curve."""

from __future__ import annotations

from typing import Any

import numpy as np

from rhat.capture import capture_all_tokens
from rhat.interventions import Intervention, add, set_projection
from rhat.model.forward import keep_base
from rhat.scoring import last_token_scores
from rhat.statistics import judge, mean_interval
from rhat.study.lab import Lab
from rhat.study.setting import NEAR

DOSES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # of t, for add's dose curve


def layers(lab: Lab) -> dict[str, Any]:
    """Every layer with its own r̂ and t: the mean projection of harmless prompts, and setting minus adding (log-odds)."""
    n = lab.sizes.sweep
    plan = lab.plan("harmless", n)
    own = {layer: d for layer in range(lab.model.n_layers) if (d := lab.layer_direction(layer)) is not None}
    base = keep_base(lab.model, plan, list(own))
    rows = []
    for done, (layer, d) in enumerate(own.items()):
        under = {
            make.__name__: last_token_scores(lab.model, plan, lab.tokens, make(d).edits(lab.model), base).numpy()
            for make in (set_projection, add)
        }
        gap = mean_interval(under["set_projection"] - under["add"])
        harmless, harmful = (
            float(d.project(lab.testing[label][:n, layer]).mean()) for label in ("harmless", "harmful")
        )
        rows.append(
            {
                "layer": layer,
                "harmless_mean_projection": harmless,
                "harmful_mean_projection": harmful,
                "set_score": float(under["set_projection"].mean()),
                "add_score": float(under["add"].mean()),
                "gap": gap.estimate,
                "ci_low": gap.low,
                "ci_high": gap.high,
                "unit": "log-odds",
                "n": gap.n,
                "verdict": judge((gap.low, gap.high)),
                "near_zero": bool(abs(harmless) <= NEAR * abs(harmful - harmless)),
            }
        )
        lab.progress("layers", done + 1, len(own))
    return {"layers": rows} | prediction(lab)


def prediction(lab: Lab) -> dict[str, Any]:
    """Setting is adding c = t − r̂·x at each token: predict each prompt's score under setting from adding's dose curve.

    For every prompt the score under add is measured at several doses and read, by linear interpolation, at the mean over
    its tokens of t − r̂·x, and at the last prompt token's alone: the first fails where single tokens matter more than others.
    """
    d, n = lab.direction, lab.sizes.sweep
    target = d.mean_harmful
    tokens = capture_all_tokens(lab.model, lab.plan("harmless", n), d.site, d.unit)
    wanted = np.array([float((target - t).mean()) for t in tokens])
    doses = np.array([share * target for share in DOSES])
    additions = [Intervention("add", d.unit, d.layer, float(c)) for c in doses]
    curve = np.stack([scores for scores, _ in lab.score_each(additions, "harmless", n)])
    order = np.argsort(doses)
    predicted = np.array([np.interp(wanted[i], doses[order], curve[order, i]) for i in range(len(tokens))])
    observed, _ = lab.score(set_projection(d), "harmless", n)
    added = curve[DOSES.index(1.0)]
    interval = mean_interval(observed)
    last = np.array([float(target - t[-1]) for t in tokens])
    by_last = np.array([np.interp(last[i], doses[order], curve[order, i]) for i in range(len(tokens))])
    part = {
        "predicted_score": float(predicted.mean()),
        "predicted_score_last_token": float(by_last.mean()),
        "observed_score": interval.estimate,
        "observed_add_score": float(added.mean()),
        "score_ci_low": interval.low,
        "score_ci_high": interval.high,
        "mean_dose": float(wanted.mean()),
        "n": interval.n,
        "inside": bool(interval.low <= predicted.mean() <= interval.high),
        "inside_last_token": bool(interval.low <= by_last.mean() <= interval.high),
    }
    if len(observed) > 3:
        part["correlation"] = float(np.corrcoef(predicted, observed)[0, 1])
    return {"prediction": part}
