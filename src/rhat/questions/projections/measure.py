"""What is measured: what projections look like at every layer, and the PCA figure."""

from __future__ import annotations

from typing import Any

import numpy as np

from rhat.capture import capture_all_tokens
from rhat.lab import Asked, Lab
from rhat.lab.chance import against_chance
from rhat.lab.reading import beside_words, transfer
from rhat.questions.projections.rows import Rows
from rhat.statistics import auroc

BINS = 30
TRAJECTORIES = 6  # prompts of each label whose projection is followed token by token
PCA_POINTS = 150  # points drawn of each label and layer


def projections(lab: Lab) -> Rows:
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
        topics = lab.topics("harmful", len(on["test", "harmful"])), lab.topics("harmless", len(on["test", "harmless"]))
        area = auroc(on["test", "harmful"], on["test", "harmless"], groups=topics)
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
    part["auroc_within"], part["words"] = _within(lab, "harmful")
    part["transfer"] = transfer(lab)
    return Rows.of(part)


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


def within(lab: Lab, label: str) -> list[dict[str, Any]]:
    """AUROC of the projection for refused against complied prompts of one label."""
    return _within(lab, label)[0]


def _within(lab: Lab, label: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """AUROC of the projection for refused against complied prompts of one label, where both are seen without an edit.

    Harmful against harmless is a topic contrast too; inside one label it is not. The second list is the same by the words alone.
    """
    measured = lab.measure("baseline", None, label, lab.sizes.tested(label))
    some = lab.test(label, len(measured.verdicts))
    layer = lab.direction.layer
    values = lab.direction.project(lab.activations(some, [layer])[:, 0]).numpy()
    refused = measured.refused
    if not 2 <= refused.sum() <= len(refused) - 2:
        return [], []
    topics = np.array(measured.topics)
    area = auroc(values[refused], values[~refused], groups=(topics[refused], topics[~refused]))
    rows = [
        {
            "comparison": f"refused vs complied, {label}",
            "layer": layer,
            "auroc": area.estimate,
            "ci_low": area.low,
            "ci_high": area.high,
            "n_positive": int(refused.sum()),
            "n_negative": int((~refused).sum()),
            "verdict": against_chance(area.low, area.high),
        }
    ]
    return rows, beside_words(lab, values, some, refused)


def projections_cost(a: Asked) -> None:
    """Activations of both labels, and the baseline on harmful prompts."""
    x = a.given
    a.training()
    a.testing()
    x.scored(1, a.sweep("harmful", 6), stop=x.layer, head=False)
    x.scored(1, a.sweep("harmless", 6), stop=x.layer, head=False)
    a.measured("baseline", "harmful")
    x.scored(1, a.head("harmful"), stop=x.layer, head=False)
