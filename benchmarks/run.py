"""`make bench`: measure everything, print the table, and write benchmarks/results.json and docs/performance.md.

    python benchmarks/run.py [--only TOPIC]... [--quick] [--with-standard] [--out FILE]

Results are written after every topic; `--only` measures some again and keeps the others.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from measuring import QUIET, Row, machine, seconds, watched
from rich.console import Console
from rich.table import Table
from subject import Subject

import report

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
TOPICS = (
    "startup",
    "forward",
    "overhead",
    "generate",
    "capture",
    "grid",
    "scaling",
    "tricks",
    "profiles",
    "study",
    "serving",
)


def main() -> int:
    """Run what was asked for; 0 unless something could not be measured."""
    asked = parse()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    console = Console(stderr=True, width=150)
    subject = Subject(
        quick=asked.quick, with_standard=asked.with_standard, say=lambda text: console.print(f"  {text}", style="dim")
    )
    results = before(asked)
    results["machine"] = machine()
    busy = results["machine"]["others_at_start"]
    if busy > QUIET:
        console.print(f"[yellow]other processes use {busy:.1f} cores: numbers will be worse than on an idle machine")
    failed = 0
    for name in asked.only or [t for t in TOPICS if (HERE / f"{t}.py").exists()]:
        console.print(f"{time.strftime('%H:%M:%S')} {name} …")
        begin = time.perf_counter()
        rows, error = measured(name, subject)
        took = time.perf_counter() - begin
        console.print(f"  {name}: {seconds(took)}" + (f" [red]{error}" if error else ""))
        for row in rows:
            verdict = {True: "met", False: "[red]missed[/red]", None: "no target"}[row.met]
            console.print(f"  {row.work}: {row.ours} against {row.theirs} → {report.reached(row.said())} ({verdict})")
        failed += bool(error)
        results["topics"][name] = {
            "seconds": round(took, 1),
            "error": error,
            "rows": [row.said() for row in rows],
            "when": time.strftime("%Y-%m-%d %H:%M"),
            "quick": asked.quick,
        }
        write(asked.out, results)
    Console(width=None if sys.stdout.isatty() else 170).print(table(results))
    if asked.out == RESULTS and not asked.quick:
        report.write(results)
    return min(failed, 1)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=TOPICS, help="just this (may be given again)")
    parser.add_argument("--quick", action="store_true", help="smaller, to try it; writes to --out alone")
    parser.add_argument("--with-standard", action="store_true", help="run the standard study too (ten minutes)")
    parser.add_argument("--out", type=Path, help="where results go (default: benchmarks/results.json)")
    asked = parser.parse_args()
    asked.out = asked.out or (HERE / "quick.json" if asked.quick else RESULTS)
    return asked


def before(asked: argparse.Namespace) -> dict[str, Any]:
    """Results of other topics that stay when only some are measured again."""
    if asked.only and asked.out.exists():
        return json.loads(asked.out.read_text())
    return {"topics": {}}


def measured(name: str, subject: Subject) -> tuple[list[Row], str]:
    """Rows of a topic, and what went wrong."""
    try:
        module = importlib.import_module(name)
        with watched() as load:
            rows = module.measure(subject)
    except Exception as error:
        traceback.print_exc()
        return [], f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    for row in rows:
        row.others = round(load.others, 2)
    return rows, ""


def write(path: Path, results: dict[str, Any]) -> None:
    """Results, in one step."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def table(results: dict[str, Any]) -> Table:
    """The table that is printed."""
    shown = Table(title="rhat against the plain procedure and its peers", title_justify="left")
    for heading in ("Work", "rhat", "Against", "Target", "Reached", "Runs", "Others' cores"):
        shown.add_column(heading, justify="right" if heading in ("Runs", "Others' cores") else "left")
    for row in report.rows(results):
        verdict = {True: "[green]", False: "[red]missed: ", None: ""}[row["met"]]
        shown.add_row(
            row["work"],
            row["ours"],
            row["theirs"],
            row["target"],
            verdict + report.reached(row),
            str(row["runs"] or "–"),
            f"{row['others']:.1f}",
        )
    return shown


if __name__ == "__main__":
    raise SystemExit(main())
