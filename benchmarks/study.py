"""Whole studies: time and peak memory; and that memory does not grow with the number of prompts.

python benchmarks/study.py N   prints the peak memory of capturing means of N prompts
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import Row, seconds
from subject import MODEL, Subject

LIMITS = {"quick": 120, "standard": 600}
MEMORY_GIB = 4.0
LAST_RUN = Path(__file__).parents[1] / "runs" / "default" / "results.json"
FEW, MANY = 128, 1024
FLAT_GIB = 0.25  # what the peak may differ by


def measure(subject: Subject) -> list[Row]:
    """Run `rhat study` as a user does; standard only when asked for, otherwise the last `make study` is what is shown."""
    rows, peak = [], 0.0
    for preset in ("quick", "standard"):
        if preset == "quick" or subject.with_standard:
            subject.say(f"rhat study --preset {preset}")
            wall, memory, result = study(preset)
            peak = max(peak, memory)
            rows.append(row(preset, wall, result, {"peak_gib": memory, "measured": "this run"}))
        elif LAST_RUN.exists():
            result = json.loads(LAST_RUN.read_text())
            wall = sum(taken(result).values())
            memory = (result.get("manifest") or {}).get("peak_memory_gib") or 0.0
            peak = max(peak, memory)
            where = LAST_RUN.parent.relative_to(LAST_RUN.parents[2])
            rows.append(
                row(preset, wall, result, {"peak_gib": memory, "measured": f"the last `make study`, in {where}"})
            )
        else:
            rows.append(Row("study-standard", "rhat study --preset standard", "not run", "–", "under 10 min"))
    rows.append(
        Row(
            "study-memory",
            "peak memory of rhat study",
            f"{peak:.2f} GiB",
            "–",
            f"under {MEMORY_GIB:.0f} GiB",
            peak,
            "GiB",
            MEMORY_GIB,
            "at most",
            1,
        )
    )
    sizes = (32, 128) if subject.quick else (FEW, MANY)
    few, many = (peak_of(n) for n in sizes)
    rows.append(
        Row(
            "study-flat",
            f"peak memory of capture: {sizes[1]} prompts against {sizes[0]}",
            f"{many:.2f} GiB",
            f"{few:.2f} GiB ({sizes[0]} prompts)",
            f"flat (within {FLAT_GIB} GiB)",
            many - few,
            "GiB more",
            FLAT_GIB,
            "at most",
            1,
        )
    )
    return rows


def row(preset: str, wall: float, result: dict[str, Any], details: dict[str, Any]) -> Row:
    """A study's row."""
    return Row(
        f"study-{preset}",
        f"rhat study --preset {preset}",
        seconds(wall),
        "–",
        f"under {seconds(LIMITS[preset])}" if preset == "quick" else "under 10 min",
        wall,
        "s",
        LIMITS[preset],
        "at most",
        1,
        note=details["measured"],
        details=details | {"stages": taken(result)},
    )


def study(preset: str) -> tuple[float, float, dict[str, Any]]:
    """(seconds, peak GiB, results) of one study in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "rhat",
            "study",
            "--model",
            MODEL,
            "--preset",
            preset,
            "--out",
            f"{folder}/out",
        ]
        begin = time.perf_counter()
        memory = _peak(command)
        wall = time.perf_counter() - begin
        return wall, memory, json.loads((Path(folder) / "out" / "results.json").read_text())


def taken(result: dict[str, Any]) -> dict[str, float]:
    """Seconds of each stage, from results.json."""
    timings = result.get("timings", {})
    if isinstance(timings, dict):
        return {k: float(v) for k, v in timings.items() if isinstance(v, int | float)}
    return {t["stage"]: float(t["seconds"]) for t in timings}


def peak_of(n: int) -> float:
    """Peak GiB of capturing means of n prompts, in a process of its own."""
    return _peak([sys.executable, __file__, str(n)])


def _peak(command: list[str]) -> float:
    """Peak resident GiB of a command (its largest process).

    Raises:
        RuntimeError: if it fails.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
        peak = 0
        while process.poll() is None:  # ru_maxrss would begin with what the parent had at the fork
            try:
                lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            except OSError:
                break
            peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
            time.sleep(0.2)
        if process.wait():
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {errors.read().strip()[-400:]}")
    return peak / 2**20


if __name__ == "__main__":
    from capture import means

    subject = Subject()
    means(subject.model, subject.model.tokenize(subject.texts(int(sys.argv[1]))))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
