"""What is kept prompt by prompt: verdicts and answers as JSON lines, numbers as Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rhat.lab import Lab, Measurement
from rhat.prompts import UNSAFE, ContrastSet


def completions(lab: Lab) -> str:
    """Classes (by each judge of a panel) and salted hashes of every answer; texts of answers to harmless and borderline prompts only."""
    lines = []
    for (condition, label), m in lab.measurements.items():
        for i, (prompt_id, verdict) in enumerate(zip(m.prompt_ids, m.verdicts, strict=True)):
            row: dict[str, Any] = {"prompt_id": prompt_id, "label": label, "condition": condition, "verdict": verdict}
            row |= {"classes": _classes(lab, m, i)} if m.panel else {}
            row |= {"hash": m.hashes[i]} if m.hashes else {}
            if label not in UNSAFE and m.texts:
                row["text"] = m.texts[i]
            lines.append(json.dumps(row, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def per_prompt(lab: Lab, prompts: ContrastSet, projected: Mapping[str, float]) -> bytes:
    """One row a prompt and condition, as Parquet: id, label, split, condition, verdict, refusal score, KL, projection, the
    answer's salted hash, its class by each judge, and (`after:N`) its class after N tokens where it was read so.

    `projected` are the projections by prompt id, as `projections` gives them.
    """
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    by_id = {p.id: p for p in prompts.prompts}
    lengths = sorted({length for m in lab.measurements.values() for length in m.shorter})
    judges = dict.fromkeys([lab.reader.name, *(judge for m in lab.measurements.values() for judge in m.panel)])
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "prompt_id",
            "label",
            "split",
            "category",
            "topic",
            "condition",
            "verdict",
            "score",
            "kl",
            "projection",
            "hash",
            *(f"class:{judge}" for judge in judges),
            *(f"after:{length}" for length in lengths),
        )
    }
    for (condition, label), m in lab.measurements.items():
        for i, prompt_id in enumerate(m.prompt_ids):
            prompt = by_id[prompt_id]
            row = (
                prompt_id,
                label,
                "test",  # of the study, or of the split that the condition names
                prompt.category,
                prompt.topic,
                condition,
                m.verdicts[i] if m.verdicts else None,
                float(m.scores[i]),
                None if m.kl is None or i >= len(m.kl) else float(m.kl[i]),
                projected.get(prompt_id),
                m.hashes[i] if m.hashes else None,
                *(_classes(lab, m, i).get(judge) for judge in judges),
                *(m.shorter[length][i] if length in m.shorter else None for length in lengths),
            )
            for name, value in zip(columns, row, strict=True):
                columns[name].append(value)
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _classes(lab: Lab, m: Measurement, i: int) -> dict[str, str | None]:
    """The class of an answer by each judge."""
    own = {lab.reader.name: m.verdicts[i]} if m.verdicts else {}
    return {**own, **{judge: found[i] for judge, found in m.panel.items()}}


def projections(lab: Lab) -> dict[str, float]:
    """r̂·x of the test prompts whose activations an experiment has kept."""
    if lab.finding.direction is None or "testing" not in lab.__dict__:
        return {}
    d = lab.finding.direction
    return {
        p.id: float(v)
        for label, kept in lab.testing.items()
        for p, v in zip(lab.test(label, len(kept)), d.project(kept[:, d.layer]).tolist(), strict=True)
    }
