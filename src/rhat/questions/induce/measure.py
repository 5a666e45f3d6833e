"""What is measured: setting, adding and random directions on harmless prompts; and, layer by layer, why they differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rhat.capture import capture_all_tokens
from rhat.interventions import Intervention, add, set_projection
from rhat.lab import Asked, Lab, Measurement, RotatedControls
from rhat.lab.ranked import OPERATORS, matched_controls, spent_on
from rhat.lab.ranked import ROUNDS as SEARCHES
from rhat.lab.rows import compared, drift_row, rate_part, rate_row, score_part, score_row
from rhat.model import cache_clean_run
from rhat.questions.induce.rows import NearZero, Prediction, Rows
from rhat.scoring import last_token_scores, tasks
from rhat.statistics import judge, mean_interval

NEAR = 0.10  # near zero: |projection| below this share of the gap between the two means
DOSES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # of t, for add's dose curve


def induce(lab: Lab) -> Rows:
    """Refusals on harmless test prompts: baseline, setting, adding, random directions of equal displacement."""
    d, n = lab.direction, lab.sizes.headline
    units = lab.random_units()[: lab.sizes.dealt]
    treatments = {
        "baseline": None,
        "set_projection": set_projection(d),
        "add_average": add(d),
        "add_difference": add(d, d.norm),
        "random_set_projection": RotatedControls(tuple(_set_random(lab, unit) for unit in units)),
    }
    by_name = lab.measure_conditions(treatments, "harmless", n, kl=True, stage="setting")
    measured = list(by_name.values())
    dealt, n = by_name["random_set_projection"], len(measured[0].verdicts)
    pairs = [
        ("set_projection", "baseline"),
        ("add_average", "set_projection"),
        ("add_difference", "set_projection"),
        ("add_average", "baseline"),
        ("add_difference", "baseline"),
        ("random_set_projection", "baseline"),
        ("set_projection", "random_set_projection"),
    ]
    part: dict[str, Any] = {
        "rates": [rate_row(m) for m in measured],
        "scores": [score_row(m) for m in measured],
        "drift": [drift_row(m) for m in measured if m.kl is not None],
        **compared([(by_name[a], by_name[b]) for a, b in pairs], lab.margin, "induce"),
        "random_controls": _controls(lab, "random_set_projection", "harmless", dealt, lab.sizes.sweep),
        "near_zero": near_zero(lab, n),
    }
    return Rows.of(part)


def _set_random(lab: Lab, unit: torch.Tensor) -> Intervention:
    return Intervention("set_projection", unit, lab.direction.layer, lab.random_target(unit))


def _controls(lab: Lab, condition: str, label: str, dealt: Measurement, n: int) -> list[dict[str, Any]]:
    """Every random direction by log-odds; those that were dealt also by generation."""
    rows = []
    kinds = [("orthogonal", i, unit) for i, unit in enumerate(lab.random_units())]
    kinds += [("permuted_labels", i, unit) for i, unit in enumerate(lab.permuted_units())]
    found = lab.score_conditions(
        [_set_random(lab, unit) for _, _, unit in kinds], label, n, kl=True, stage=f"{condition}, {label}, by log-odds"
    )
    for (kind, i, _), (scores, divergence) in zip(kinds, found, strict=True):
        row = {
            "condition": condition,
            "seed": lab.seed * 1000 + i + 500 * (kind != "orthogonal"),
            "kind": kind,
            "prompts": label,
            **score_part(scores, lab.topics(label, n)),
        }
        if divergence is not None:
            row["kl_mean"] = float(np.mean(divergence))
        if kind == "orthogonal" and i < lab.sizes.dealt:
            mine = dealt.refused[i :: lab.sizes.dealt]
            if len(mine):
                row |= {k: v for k, v in rate_part(mine, dealt.topics[i :: lab.sizes.dealt]).items() if k != "n"}
        rows.append(row)
    return rows


def controls(lab: Lab) -> Rows:
    """r̂'s effect among directions of four kinds, at equal displacement and at equal damage."""
    return Rows.of(matched_controls(lab))


def near_zero(lab: Lab, n: int) -> NearZero:
    """How many harmless prompts, and how many of all their tokens, project to near zero at r̂'s layer."""
    d = lab.direction
    some = lab.plan("harmless", n)
    tokens = capture_all_tokens(lab.model, some, d.site, d.unit)
    threshold = NEAR * abs(lab.gap)
    at = torch.stack([t[d.position] for t in tokens])
    every = torch.cat(tokens)
    return NearZero.of(
        {
            "threshold_share": NEAR,
            "threshold": threshold,
            "prompts_share": float((at.abs() < threshold).double().mean()),
            "tokens_share": float((every.abs() < threshold).double().mean()),
            "n_prompts": len(at),
            "n_tokens": len(every),
        }
    )


def layers(lab: Lab) -> Rows:
    """Every layer with its own r̂ and t: the mean projection of harmless prompts, and setting minus adding (log-odds)."""
    n = lab.sizes.sweep
    model, plan = tasks.at_answers(lab.model, lab.plan("harmless", n))
    own = {layer: d for layer in range(lab.model.n_layers) if (d := lab.layer_direction(layer)) is not None}
    base = cache_clean_run(model, plan, list(own))
    rows = []
    for done, (layer, d) in enumerate(own.items()):
        under = {
            make.__name__: last_token_scores(model, plan, lab.tokens, make(d).edits(model), base).numpy()
            for make in (set_projection, add)
        }
        gap = mean_interval(under["set_projection"] - under["add"], groups=lab.topics("harmless", n))
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
    return Rows.of({"layers": rows, "prediction": prediction(lab)})


def prediction(lab: Lab) -> Prediction:
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
    curve = np.stack([scores for scores, _ in lab.score_conditions(additions, "harmless", n)])
    order = np.argsort(doses)
    predicted = np.array([np.interp(wanted[i], doses[order], curve[order, i]) for i in range(len(tokens))])
    observed, _ = lab.score(set_projection(d), "harmless", n)
    added = curve[DOSES.index(1.0)]
    topics = lab.topics("harmless", n)
    interval = mean_interval(observed, groups=topics)
    last = np.array([float(target - t[-1]) for t in tokens])
    by_last = np.array([np.interp(last[i], doses[order], curve[order, i]) for i in range(len(tokens))])
    apart, apart_last = (mean_interval(one - observed, groups=topics) for one in (predicted, by_last))
    part = {
        "predicted_score": float(predicted.mean()),
        "predicted_score_last_token": float(by_last.mean()),
        "observed_score": interval.estimate,
        "observed_add_score": float(added.mean()),
        "score_ci_low": interval.low,
        "score_ci_high": interval.high,
        "mean_dose": float(wanted.mean()),
        "n": interval.n,
        "error": apart.estimate,
        "error_ci_low": apart.low,
        "error_ci_high": apart.high,
        "inside": bool(apart.low <= 0 <= apart.high),
        "error_last_token": apart_last.estimate,
        "error_last_token_ci_low": apart_last.low,
        "error_last_token_ci_high": apart_last.high,
        "inside_last_token": bool(apart_last.low <= 0 <= apart_last.high),
    }
    if len(observed) > 3:
        part["correlation"] = float(np.corrcoef(predicted, observed)[0, 1])
    return Prediction.of(part)


def induce_cost(a: Asked) -> None:
    """Five conditions by generation, random and permuted directions by log-odds."""
    x, layer = a.given, a.given.layer
    for name in ("baseline", "set_projection"):
        a.once((name, "harmless"))
    x.answered(5, a.head("harmless"), a.tokens, layer)
    x.scored(1, a.head("harmless"))  # the logits that KL is taken from
    a.training()
    x.scored(1, a.sweep())
    x.scored(a.sizes.randoms + 5, a.sweep(), layer)
    x.scored(1, a.head("harmless"), stop=layer, head=False)


def layers_cost(a: Asked) -> None:
    """Setting and adding at every layer, and adding at eight doses."""
    x = a.given
    a.testing()
    x.scored(1, a.sweep(), stop=x.model.n_layers - 1, head=False)
    for layer in range(1, x.model.n_layers):
        x.scored(2, a.sweep(), layer)
    x.scored(1, a.sweep(), stop=x.layer, head=False)
    x.scored(9, a.sweep(), x.layer)


def controls_cost(a: Asked) -> None:
    """Four kinds of control direction under each operator: doses on validation prompts, effects on test prompts."""
    x, n = a.given, a.sizes.randoms
    a.training()
    categories = len({p.category for p in x.some("harmless", 256, "train") if p.category})
    many = 3 * n + min(n, categories * (categories - 1) // 2)  # the fourth kind is the difference of two categories
    for op in OPERATORS:
        prompts, searched = spent_on(op, a.sizes.name)
        few = x.some("harmless", searched, "validation")
        start = 0 if op == "ablate" else x.layer
        some = a.sweep("harmful" if op == "ablate" else "harmless", min(a.sizes.sweep, prompts))
        x.scored(1, few)
        x.scored(1 + SEARCHES * many, few, start)
        x.scored(1, some)
        x.scored(2 * (1 + many), some, start)
