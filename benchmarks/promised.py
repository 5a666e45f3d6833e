"""Time told against time taken: `.venv/bin/python benchmarks/promised.py [--model MODEL] [PRESET …]`.

Runs studies in processes of their own, with and without the instruction set capped to AVX2, and prints for each what was told
before it began and what it took, and stage by stage what was expected in operations and what the ledger counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CAPPED = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
RUN = """
import json, sys, time
from pathlib import Path
from rhat.study import StudyConfig, run
given = json.loads(sys.argv[1])
told, began = [], []
def tell(known):
    told.append(known)
    began.append(time.perf_counter())
results = run(StudyConfig(**{**given, "out": Path(given["out"])}), told=tell)
taken = time.perf_counter() - began[0]
print(json.dumps({"told": told[0].total, "taken": taken, "stages": told[0].stages, "timings": results["timings"]}))
"""


def one(arguments: dict[str, str], *, capped: bool) -> dict:
    """What one study was told to take, and took."""
    with tempfile.TemporaryDirectory() as folder:
        given = json.dumps({**arguments, "out": str(Path(folder) / "run")})
        environment = os.environ | (CAPPED if capped else {})
        done = subprocess.run(
            [sys.executable, "-c", RUN, given], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    found: dict = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", default=["quick", "standard"])
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--harmful")
    parser.add_argument("--harmless")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--no-cap", action="store_true", help="do not run them capped to AVX2 too")
    parser.add_argument("--stages", action="store_true", help="also print every stage")
    chosen = parser.parse_args()
    arguments = {name: getattr(chosen, name) for name in ("model", "harmful", "harmless", "dtype")}
    arguments = {name: value for name, value in arguments.items() if value is not None}
    print("| preset | instructions | told | taken | told / taken |\n| --- | --- | --- | --- | --- |")
    for preset in chosen.presets:
        for capped in (False,) if chosen.no_cap else (False, True):
            found = one(arguments | {"preset": preset}, capped=capped)
            told, taken = found["told"], found["taken"]
            name = "AVX2" if capped else "all"
            print(f"| {preset} | {name} | {told:.0f} s | {taken:.0f} s | {told / taken:.2f} |", flush=True)
            for row in found["timings"] if chosen.stages else ():
                expected = found["stages"].get(row["stage"], 0.0)
                print(f"|   {row['stage']} | | {expected:.1f} s | {row['seconds']:.1f} s | |")


if __name__ == "__main__":
    main()
