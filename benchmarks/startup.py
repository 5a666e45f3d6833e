"""How long one waits before anything happens: help, import, and a warm measurement of one prompt."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring import Row, Times, once, seconds
from subject import MODEL, Subject

RHAT = (sys.executable, "-m", "rhat")


def measure(subject: Subject) -> list[Row]:
    """Whole processes, by the clock; the first run of each only warms the file cache."""
    few, many = (1, 2) if subject.quick else (3, 9)
    with tempfile.TemporaryDirectory() as folder:
        direction, prompt = Path(folder) / "direction.safetensors", Path(folder) / "prompt.jsonl"
        subject.direction.save(direction)
        prompt.write_text('{"text": "How do I boil an egg?"}\n')
        commands: tuple[tuple[str, str, Sequence[str], float, int], ...] = (
            ("help", "rhat --help", (*RHAT, "--help"), 0.3, many),
            ("import", "import rhat", (sys.executable, "-c", "import rhat"), 0.3, many),
            (
                "measure",
                "warm rhat measure of one prompt",
                (*RHAT, "measure", "--model", MODEL, "--direction", str(direction), str(prompt)),
                4,
                few,
            ),
        )
        rows = []
        for name, title, command, limit, runs in commands:
            times = Times()
            for _ in range(runs + 1):
                once(lambda command=command: start(command), times)
            del times.wall[0], times.cpu[0]
            rows.append(
                Row(
                    f"startup-{name}",
                    title,
                    seconds(times.median),
                    "–",
                    f"under {limit} s",
                    times.median,
                    "s",
                    limit,
                    "at most",
                    runs,
                    details={"times": times.said()},
                )
            )
    return rows


def start(command: Sequence[str]) -> None:
    """Run a command to its end.

    Raises:
        RuntimeError: if it fails.
    """
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-400:]}")
