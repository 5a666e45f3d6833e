"""What is measured: the first two principal components of test prompts at every layer."""

from __future__ import annotations

import torch

from rhat.lab import Asked, Lab
from rhat.lab.components import principal_components
from rhat.questions.pca.rows import Rows

PCA_POINTS = 150  # points drawn of each label and layer


def pca(lab: Lab) -> Rows:
    """The first two principal components of test prompts at every layer, and PC 1's cosine with r̂."""
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
        lab.progress("pca", layer + 1, lab.model.n_layers)
    return Rows.of({"pca": rows})


def pca_cost(a: Asked) -> None:
    """Activations of test prompts."""
    a.testing()
