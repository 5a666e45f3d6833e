"""Write the table of docs/finding.md that says what each finder finds of two planted clouds.

.venv/bin/python docs/finding.py
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from rhat.directions.finders import finder_named
from rhat.display.wording import number

PAGE = Path(__file__).with_name("finding.md")
BEGIN, END = "<!-- planted: docs/finding.py -->", "<!-- end of planted -->"
SHOWN = (
    "mean_difference",
    "projected_difference",
    "lat",
    "logistic",
    "whitened",
    "paired_svd",
    "paired_svd:1",
    "category:a",
    "category:b",
    "som",
    "som:1",
    "som:2",
    "som:3",
    "random",
    "permuted",
)


def two_clouds(
    d: int = 16, n: int = 120, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors u and v, which cloud each positive row is in, positive rows at 4 u (three of five) or 4 v, negative rows at 0."""
    rng = np.random.default_rng(seed)
    u, v = np.eye(d)[2], np.eye(d)[9]
    which = np.array([0, 1, 0, 1, 0] * (n // 5))
    positive = 0.5 * rng.normal(size=(n, d)) + 4 * np.where(which[:, None] == 0, u, v)
    return u, v, which, positive, 0.5 * rng.normal(size=(n, d))


def table() -> str:
    """Cosines of what each finder finds with u, with v, and with what the difference of means leaves of their plane."""
    u, v, which, positive, negative = two_clouds()
    axes = np.stack([u, v, (2 * u - 3 * v) / 13**0.5])
    lines = ["| finder | u | v | left out |", "| --- | --- | --- | --- |"]
    for name in SHOWN:
        find = finder_named(name, {"categories": np.where(which == 0, "a", "b").tolist()})
        vector = find(torch.tensor(positive), torch.tensor(negative)).numpy()
        cosines = axes @ vector / np.linalg.norm(vector)
        lines.append(f"| `{name}` | " + " | ".join(number(c) for c in cosines) + " |")
    return "\n".join(lines)


def written(page: str) -> str:
    """The page with its table replaced."""
    made, n = re.subn(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{table()}\n{END}", page, flags=re.DOTALL)
    assert n == 1, PAGE
    return made


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
