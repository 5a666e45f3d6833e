"""Where there is no direction to study: how often the model refuses as it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from rhat.artifacts.rows import Part
from rhat.executor import Worker
from rhat.lab import Lab, Measurement
from rhat.lab.measurement import topics_of
from rhat.lab.rows import rate_row, score_row
from rhat.scoring import refusals
from rhat.scoring.reading import judged


def unrefused(lab: Lab) -> Part:
    """When there is no direction to study: the baseline's refusal rates on test prompts, which say why."""
    measured = []
    for label in ("harmful", "harmless"):
        n = min(lab.sizes.headline, len(lab.test(label)))
        if not lab.finding.refusal_tokens:
            measured.append(_plain_rates(lab, label, n))
        else:
            measured.append(lab.measure("baseline", None, label, n))
    part: dict[str, Any] = {"rates": [rate_row(m) for m in measured]}
    if lab.finding.refusal_tokens:
        part["scores"] = [score_row(m) for m in measured]
    return Part.of(part)


def _plain_rates(lab: Lab, label: str, n: int) -> Measurement:
    """Verdicts without scores, for a model that has no refusal tokens."""
    prompts = lab.test(label, n)
    done = refusals(
        lab.model,
        lab.model.tokenize([p.text for p in prompts]),
        max_new_tokens=lab.judged_tokens,
        stop_early=False,
        progress=lambda d, t: lab.progress(f"baseline, {label}", d, t),
    )
    lab.describe("baseline", None)
    texts = tuple(completion.text for completion in done.completions)
    read = judged(Worker(lab.model), lab.judging(prompts), range(len(prompts)), done.completions)
    scores, ids = np.full(len(prompts), np.nan), tuple(p.id for p in prompts)
    m = Measurement(
        "baseline",
        label,
        ids,
        scores,
        read.classes,
        None,
        texts,
        (),
        read.panel,
        read.hashes,
        topics=topics_of(prompts),
    )
    lab.handed_on(m, prompts)
    lab.measurements["baseline", label] = m
    return m
