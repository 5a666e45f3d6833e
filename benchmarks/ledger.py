"""Operations of a study by stage: `.venv/bin/python benchmarks/ledger.py [--layer N] [--results RESULTS.json] [--name NAME]`.

Computes what the standard preset asks of the default model, in the ledger's own arithmetic; with `--results`, also takes
what a study counted. Keeps both in benchmarks/ledger.json under a name, and prints the names side by side.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parent / "ledger.json"


def computed(preset: str, layer: int) -> dict[str, float]:
    """GFLOP of every stage, computed."""
    from rhat.study import StudyConfig
    from rhat.study.cost import study_work
    from rhat.study.opening import open_model, open_prompts

    config = StudyConfig(preset=preset)
    work = study_work(config, open_model(config), open_prompts(config), layer=layer)
    return {stage: round(one.flop / 1e9, 1) for stage, one in work.items()}


def counted(results: Path) -> dict[str, float]:
    """GFLOP of every stage, as a study counted them."""
    rows: list[dict[str, Any]] = json.loads(results.read_text("utf-8"))["timings"]
    return {row["stage"]: round(row["gflop"], 1) for row in rows if "gflop" in row}


def table(kept: dict[str, dict[str, float]]) -> str:
    """The names side by side, the largest stages first."""
    first = next(iter(kept.values()))
    stages = sorted({stage for one in kept.values() for stage in one}, key=lambda stage: -first.get(stage, 0.0))
    lines = ["| TFLOP | " + " | ".join(kept) + " |", "| --- |" + " --- |" * len(kept)]
    lines += [
        f"| {stage} | " + " | ".join(f"{one.get(stage, 0.0) / 1e3:.1f}" for one in kept.values()) + " |"
        for stage in stages
    ]
    return "\n".join(
        [*lines, "| all | " + " | ".join(f"{sum(one.values()) / 1e3:.1f}" for one in kept.values()) + " |"]
    )


def main() -> None:
    """Keep what was asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--layer", type=int, default=18, help="where r̂ is")
    parser.add_argument("--results", type=Path, help="results.json of a study, for what was counted")
    parser.add_argument("--name", default="computed")
    asked = parser.parse_args()
    kept = json.loads(KEPT.read_text("utf-8")) if KEPT.is_file() else {}
    kept[asked.name] = counted(asked.results) if asked.results else computed(asked.preset, asked.layer)
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(table(kept))


if __name__ == "__main__":
    main()
