"""The whole candidate grid by the plain procedure, once, to hold its choice against rhat's.

    python benchmarks/full_grid.py   writes benchmarks/full_grid.json; goes on where it was stopped

Nothing here is a measurement of speed: it may run on a busy machine.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from grid import KEPT, chosen, every, vector
from plain import Plain, score_candidate
from subject import Subject


def main(subject: Subject, kept: Path = KEPT) -> int:
    """Score every candidate, choose by the published rules, and say whether rhat chooses the same."""
    from rhat.selection.finding import find

    finding = find(subject.model, subject.contrast, subject.settings)
    assert finding.means is not None, finding.why_not
    harmful, harmless = ([p.text for p in finding.kept["validation"][label]] for label in ("harmful", "harmless"))
    asked = {
        "harmful": harmful,
        "harmless": harmless,
        "tokens": list(finding.token_ids),
        "norms": [round(float(vector(finding.means, c).norm()), 4) for c in every(finding.means)],
    }
    table = begun(kept, asked)
    plain = Plain.load(subject.folder, subject.model.dtype)
    base = plain.last_logits(harmless)
    for candidate in every(finding.means):
        layer, position = candidate
        raw = vector(finding.means, candidate).float()
        if (layer, position) in table:
            continue
        row: dict[str, Any] = {"layer": layer, "position": position, "norm": float(raw.norm())}
        if raw.norm() > 0:
            begin = time.perf_counter()
            row |= score_candidate(plain, raw, layer, harmful, harmless, finding.token_ids, base)
            row["seconds"] = round(time.perf_counter() - begin, 2)
        table[layer, position] = row
        write(kept, {"asked": asked, "table": list(table.values())})
        print(f"{len(table)} of {len(every(finding.means))}: {row}", file=sys.stderr, flush=True)
    said = choices(list(table.values()), finding, len(harmless))
    write(kept, said | {"asked": asked, "table": list(table.values())})
    print(json.dumps(said, ensure_ascii=False))
    return 0 if said["same"] else 1


def begun(kept: Path, asked: dict[str, Any]) -> dict[tuple[int, int], dict[str, Any]]:
    """Candidates that are scored already, if it was for the same prompts, tokens and candidates."""
    if not kept.exists():
        return {}
    held = json.loads(kept.read_text(encoding="utf-8"))
    if held.get("asked") != asked:
        return {}
    return {(row["layer"], row["position"]): row for row in held["table"]}


def choices(table: list[dict[str, Any]], finding: Any, n: int) -> dict[str, Any]:
    """What the published rules choose from the plain scores (the relaxed ones where they leave nothing), and what rhat chose."""
    from scipy.stats import t

    from rhat.selection.choice import choose, choose_relaxed

    layers = len(finding.means.candidates)
    rows = []
    for row in table:
        row = {name: value for name, value in row.items() if name != "seconds"}
        if "induce_rise" in row:
            row["induce_rise_low"] = row["induce_rise"] - float(t.ppf(0.975, n - 1)) * row.pop("induce_rise_error")
        rows.append(row)
    choice = choose(rows, n_layers=layers)
    if choice.candidate is None:
        choice = choose_relaxed(rows, n_layers=layers)
    theirs = choice.candidate and {name: choice.candidate[name] for name in ("layer", "position")}
    ours = {(row["layer"], row["position"]): row for row in finding.candidates}
    gaps = [
        abs(row[name] - ours[row["layer"], row["position"]][name])
        for row in rows
        for name in ("induce_score", "ablation_score", "kl")
        if not math.isnan(row.get(name, math.nan))
        and not math.isnan(ours[row["layer"], row["position"]].get(name, math.nan))
        and ours[row["layer"], row["position"]].get("induce_n", n) == n
    ]
    took = [row["seconds"] for row in table if "seconds" in row]
    return {
        "plain_choice": theirs,
        "plain_rule": choice.rule,
        "rhat_choice": chosen(finding),
        "rhat_rule": finding.rule,
        "same": theirs == chosen(finding),
        "scores_compared": len(gaps),
        "largest_difference": max(gaps, default=None),
        "hours": round(sum(took) / 3600, 3),
    }


def write(path: Path, said: dict[str, Any]) -> None:
    """Results, in one step."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


if __name__ == "__main__":
    raise SystemExit(main(Subject()))
