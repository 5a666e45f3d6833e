"""Studies that took place: every experiment on the tiny taught model, and the run in docs/example.

Readers of results are tested on these. Rows made by hand could hold what no study writes, and agree with a reader that is wrong.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from labs import contrast_set
from refusing import refusing_folder

EXAMPLE = Path(__file__).parents[1] / "docs" / "example"
EXAMPLE_ASKED = (
    *("induce", "projections", "pca", "suppress", "scopes", "repe", "heads", "finders", "over_refusal"),
    *("dose_response", "stability"),
)
"""The questions of the run in docs/example; those that are newer than it are not among them."""
EXAMPLE_LACKS = ("matched_controls", "transfer", "probes")
"""Figures of those questions that are newer than the run in docs/example."""
NEEDS_CATEGORIES = ("transfer",)
"""Figures that are drawn where prompts name their categories; those of `arguments` do not."""


def arguments(folder: Path, *, borderline: bool = False) -> dict:
    """The taught model's folder and its prompts as files: what a StudyConfig needs of them; `borderline`: those with their twins."""
    files = {}
    for label in ("harmful", "harmless", *(["borderline", "twin"] if borderline else [])):
        files["twins" if label == "twin" else label] = str(folder / f"{label}.jsonl")
        topic = (lambda p: {"topic": p.topic}) if label in ("borderline", "twin") else lambda _: {}
        rows = [{"prompt": p.text, "split": p.split, **topic(p)} for p in contrast_set(13).prompts if p.label == label]
        (folder / f"{label}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return {"model": str(refusing_folder(folder / "model")), "dtype": "float64", **files}


def everything(folder: Path) -> Path:
    """A study of all experiments; gives its folder."""
    from rhat.study import StudyConfig, run

    out = folder / "run"
    run(StudyConfig(**arguments(folder, borderline=True), preset="standard", out=out))
    return out


def measured(condition: str, label: str, refused: list[bool]):
    """A measurement as an experiment makes it, of given verdicts."""
    from rhat.lab import Measurement

    ids = tuple(f"{label}-{i}" for i in range(len(refused)))
    verdicts = tuple("refused" if one else "complied" for one in refused)
    return Measurement(condition, label, ids, np.where(refused, 1.0, -1.0), verdicts)
