"""Questions 2 and 3: what projections look like at every layer, and the PCA figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rhat.capture import capture_all_tokens
from rhat.statistics import Judgement, auroc, judge
from rhat.study.lab import Lab

BINS = 30
TRAJECTORIES = 6  # prompts of each label whose projection is followed token by token
PCA_POINTS = 150  # points drawn of each label and layer


def projections(lab: Lab) -> dict[str, Any]:
    """Mean, spread and AUROC of the projection on each layer's own r̂; histogram, trajectories, AUROC within a label."""
    part: dict[str, Any] = {"projections": [], "auroc": []}
    for layer in range(lab.model.n_layers):
        own = lab.layer_direction(layer)
        if own is None:
            continue
        on = {
            (split, label): own.project(group[label][:, layer]).numpy()
            for split, group in (("train", lab.training), ("test", lab.testing))
            for label in ("harmful", "harmless")
        }
        for (split, label), values in on.items():
            part["projections"].append(
                {
                    "layer": layer,
                    "label": label,
                    "split": split,
                    "mean": float(values.mean()),
                    "sd": float(values.std(ddof=1)),
                    "n": len(values),
                }
            )
        area = auroc(on["test", "harmful"], on["test", "harmless"])
        part["auroc"].append(
            {
                "layer": layer,
                "auroc": area.estimate,
                "ci_low": area.low,
                "ci_high": area.high,
                "n": area.n,
                "verdict": against_chance(area.low, area.high),
            }
        )
    part["histogram"] = _histogram(lab)
    part["trajectories"] = _trajectories(lab)
    part["auroc_within"] = within(lab)
    return {key: value for key, value in part.items() if value}


def test_projections(lab: Lab, label: str) -> np.ndarray:
    """r̂·x of the headline test prompts at r̂'s site and position, residual-stream units."""
    return lab.direction.project(lab.testing[label][:, lab.direction.layer]).numpy()


def _histogram(lab: Lab) -> list[dict[str, Any]]:
    values = {label: test_projections(lab, label) for label in ("harmful", "harmless")}
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), bins=BINS)
    return [
        {
            "label": label,
            "layer": lab.direction.layer,
            "edges": edges.tolist(),
            "counts": np.histogram(v, edges)[0].tolist(),
        }
        for label, v in values.items()
    ]


def _trajectories(lab: Lab) -> list[dict[str, Any]]:
    rows = []
    for label in ("harmful", "harmless"):
        some = lab.test(label, TRAJECTORIES)
        tokens = capture_all_tokens(lab.model, lab.plan(label, TRAJECTORIES), lab.direction.site, lab.direction.unit)
        rows += [
            {"prompt_id": p.id, "label": label, "values": t.tolist(), "layer": lab.direction.layer}
            for p, t in zip(some, tokens, strict=True)
        ]
    return rows


def against_chance(low: float, high: float) -> Judgement:
    """The verdict on an AUROC or an accuracy of two equal kinds: better is above one half."""
    return judge((low - 0.5, high - 0.5))


def within(lab: Lab) -> list[dict[str, Any]]:
    """AUROC of the projection for refused against complied prompts of one label, where both were seen.

    Harmful against harmless is a topic contrast too; inside one label it is not.
    """
    rows = []
    for label in ("harmful", "borderline"):
        measured = lab.measurements.get(("baseline", label))
        if measured is None:
            continue
        some = lab.test(label, len(measured.verdicts))  # type: ignore[arg-type]
        layer = lab.direction.layer
        values = lab.direction.project(lab.activations(some, [layer])[:, 0]).numpy()
        refused = measured.refused
        if 2 <= refused.sum() <= len(refused) - 2:
            area = auroc(values[refused], values[~refused])
            rows.append(
                {
                    "comparison": f"refused vs complied, {label}",
                    "layer": layer,
                    "auroc": area.estimate,
                    "ci_low": area.low,
                    "ci_high": area.high,
                    "verdict": against_chance(area.low, area.high),
                    "n_positive": int(refused.sum()),
                    "n_negative": int((~refused).sum()),
                }
            )
    return rows


def principal_components(
    activations: Float[Tensor, "n d_model"], k: int = 2
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "k d_model"], Float[Tensor, " k"]]:
    """Scores, unit components and explained shares of variance of the first k principal components, float64, exact SVD."""
    centred = activations.double() - activations.double().mean(0)
    u, s, v = torch.linalg.svd(centred, full_matrices=False)
    return u[:, :k] * s[:k], v[:k], s[:k].square() / s.square().sum()


def components(lab: Lab) -> dict[str, Any]:
    """Question 3: the first two principal components of test prompts at every layer, and PC 1's cosine with r̂."""
    rows = []
    labels = ("harmless", "harmful")
    prompts = {label: lab.test(label, len(lab.testing[label])) for label in labels}
    counts = {label: min(PCA_POINTS, len(prompts[label])) for label in labels}
    for layer in range(lab.model.n_layers):
        own = lab.layer_direction(layer)
        if own is None:
            continue
        both = torch.cat([lab.testing[label][:, layer] for label in labels])
        scores, axes, explained = principal_components(both)
        unit = own.unit.double()
        sign = torch.sign(axes @ unit)
        sign[sign == 0] = 1
        scores, axes = scores * sign, axes * sign[:, None]
        points = []
        start = 0
        for label in labels:
            for i, p in enumerate(prompts[label][: counts[label]]):
                x, y = scores[start + i].tolist()
                points.append(
                    {"x": round(x, 4), "y": round(y, 4), "label": label, "prompt_id": p.id, "category": p.category}
                )
            start += len(lab.testing[label])
        rows.append(
            {
                "layer": layer,
                "explained": explained.tolist(),
                "cosine_pc1_rhat": float(axes[0] @ unit),
                "points": points,
            }
        )
        lab.progress("components", layer + 1, lab.model.n_layers)
    return {"pca": rows}
