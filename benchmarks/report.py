"""docs/performance.md from benchmarks/results.json: its tables are written anew, its prose stays.

    python benchmarks/report.py

What stands between `<!-- NAME -->` and `<!-- /NAME -->` is a table made here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "performance.md"
FULL_GRID = HERE / "full_grid.json"


def rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """All rows, topic by topic, those with a target first."""
    found = [row for topic in results["topics"].values() for row in topic["rows"]]
    return sorted(found, key=lambda row: not row["target"])


def reached(row: dict[str, Any]) -> str:
    """The number that is held against the target."""
    value, unit = row["value"], row["unit"]
    if value is None:
        return "–"
    if unit == "×":
        return f"{value:.1f}×" if value >= 2 else f"{value:.3f}×"
    if unit == "%":
        return f"{value:.0f} %"
    return f"{value:.2f} {unit}"


def write(results: dict[str, Any], document: Path = DOCUMENT) -> None:
    """Put every table that results know of between its marks."""
    text = document.read_text(encoding="utf-8")
    for name, make in PARTS.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        try:
            made = make(results)
        except KeyError:
            continue  # not measured yet: what stands there stays
        text = pattern.sub(lambda m, made=made: f"{m[1]}{made}\n{m[2]}", text)
    document.write_text(text, encoding="utf-8")


def markdown(heads: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A table."""
    out = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    return "\n".join([*out, *("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)])


def details(results: dict[str, Any], topic: str, row: int = 0) -> dict[str, Any]:
    """What one row holds besides its line of the table."""
    if not results["topics"][topic]["rows"]:
        raise KeyError(topic)
    return results["topics"][topic]["rows"][row]["details"]


def summary(results: dict[str, Any]) -> str:
    """The table of the issue."""
    verdict = {True: "yes", False: "**no**", None: "–"}
    lines = [
        (
            row["work"],
            row["ours"],
            row["theirs"],
            row["target"],
            reached(row),
            verdict[row["met"]] + (" (machine busy)" if row["under_load"] else ""),
            row["note"] or "",
        )
        for row in rows(results)
        if row["target"]
    ]
    return markdown(("Work", "rhat", "Against", "Target", "Reached", "Met", "Note"), lines)


def machine(results: dict[str, Any]) -> str:
    """The machine and when it was measured."""
    said = results["machine"]
    when = max((topic["when"] for topic in results["topics"].values()), default="?")
    versions = ", ".join(f"{name} {number}" for name, number in said["versions"].items())
    load = f"{said['load_average'][0]} ({said['others_at_start']} cores used by other processes)"
    busy = sorted({name for name, topic in results["topics"].items() for row in topic["rows"] if row["under_load"]})
    warning = f" **Measured while other processes used the machine:** {', '.join(busy)}." if busy else ""
    return (
        f"{said['processor']}, {said['cores']} cores, {said['memory_gib']} GiB, Python {said['python']}, {versions}. "
        f"Measured {when}; load average at the start {load}.{warning}"
    )


def grid(results: dict[str, Any]) -> str:
    """Where the time of the selection goes, and how scores agree."""
    said = details(results, "grid")
    per = said["plain_per_candidate"]["median"]
    lines = [(f"`find`: {name}", f"{took:.1f} s") for name, took in said["stages"][-1].items()]
    every = said["every_score"]
    lines += [
        (f"every score of {every['candidates']} candidates, none skipped", f"{every['median']:.1f} s"),
        ("the plain procedure, one candidate", f"{per:.1f} s"),
        ("ratio, none skipped", f"{every['ratio']:.1f}×"),
    ]
    for name, gap in said["agreement"].items():
        lines.append(
            (
                f"{name}: largest, median difference",
                f"{gap['max']:.4f}, {gap['median']:.4f} (spread {gap['spread']:.2f})",
            )
        )
    text = markdown(("Grid", ""), lines)
    kept = json.loads(FULL_GRID.read_text(encoding="utf-8")) if FULL_GRID.exists() else {}
    if "plain_choice" not in kept:
        return f"{text}\n\nThe whole plain grid has not been run on this machine."
    same = kept["plain_choice"] == said["chosen"]
    gap = f"{kept['scores_compared']} scores that both complete differ by at most {kept['largest_difference']:.3f}"
    return (
        f"{text}\n\nThe whole plain grid was run once ({kept['hours']:.2f} hours): by the {kept['plain_rule']} rule, it chose "
        f"{place(kept['plain_choice'])}, and rhat {place(said['chosen'])}: {'the same' if same else '**not the same**'}. {gap}."
    )


def place(candidate: dict[str, int] | None) -> str:
    """A candidate in words."""
    return f"layer {candidate['layer']}, position {candidate['position']}" if candidate else "none"


def capture(results: dict[str, Any]) -> str:
    """Everybody's time."""
    said = details(results, "capture")
    ours = said["rhat"]["median"]
    lines: list[tuple[Any, ...]] = [("rhat", f"{ours:.2f} s", "1.0×", "", "")]
    for name, one in said["peers"].items():
        if "skipped" in one:
            lines.append((name, "skipped", "", "", one["skipped"]))
            continue
        versions = ", ".join(f"{k} {v}" for k, v in one["versions"].items())
        lines.append(
            (
                name,
                f"{one['median']:.2f} s",
                f"{one['median'] / ours:.1f}×",
                f"{one['largest_relative_difference']:.3f}",
                "; ".join(filter(None, (versions, one["note"]))),
            )
        )
    return markdown(("Tool", "Median", "Relative to rhat", "Largest relative difference of a mean", "Versions"), lines)


def forward(results: dict[str, Any]) -> str:
    """Operations per second under each edit."""
    said = details(results, "forward")
    peak, work = said["peak"], said["work"]
    lines = [
        (
            name,
            f"{one['median']:.3f} s",
            f"{one['flops'] / 1e9:.0f}",
            f"{100 * one['share']:.0f} %",
            f"{100 * one['share_by_cpu']:.0f} %",
        )
        for name, one in said["passes"].items()
    ]
    text = markdown(("Intervention", "Median", "GFLOP/s of required work", "Share of peak", "Share by CPU time"), lines)
    parts = ", ".join(f"{name} {n / 1e9:.1f}" for name, n in work["parts"].items())
    return (
        f"{text}\n\nRequired: {work['flops'] / 1e9:.0f} GFLOP ({parts}) for {work['tokens']} tokens, out of "
        f"{work['tokens_of_whole_prompts']} in the complete prompts ({work['tokens_with_padding']} run, including padding); "
        f"{work['bytes_of_weights'] / 1e9:.2f} GB of weights. "
        f"Peak of bare products: {peak['flops'] / 1e9:.0f} GFLOP/s (median run {peak['flops_median'] / 1e9:.0f})."
    )


def scaling(results: dict[str, Any]) -> str:
    """Straight lines."""
    lines = [
        (
            name,
            ", ".join(map(str, curve["n"])),
            ", ".join(f"{took:.2f} s" for took in curve["seconds"]),
            f"{curve['start']:.2f} s + {1000 * curve['slope']:.1f} ms",
            f"{curve['r2']:.4f}",
        )
        for name, curve in details(results, "scaling")["curves"].items()
    ]
    return markdown(("Number of", "Sizes", "Medians", "Fit: fixed + each", "R²"), lines)


def tricks(results: dict[str, Any]) -> str:
    """What each part brings."""
    lines = [
        (
            name,
            f"{one['on']['median']:.2f} s",
            f"{one['off']['median']:.2f} s",
            f"{one['ratio']:.2f}×",
            f"{one['cpu_ratio']:.2f}×",
        )
        for name, one in details(results, "tricks")["parts"].items()
    ]
    return markdown(("Optimisation", "With", "Without", "Ratio", "Ratio of CPU times"), lines)


def profile(results: dict[str, Any]) -> str:
    """Shares of the scoring pass."""
    said = details(results, "profiles")["scoring"]
    lines = [
        (kind, f"{100 * share:.1f} %", f"{100 * said['shares_ablating'][kind]:.1f} %")
        for kind, share in said["shares"].items()
    ]
    return markdown(("Scoring pass", "under set_projection", "ablating everywhere"), lines)


def decoding(results: dict[str, Any]) -> str:
    """Decode steps against their limit."""
    said = details(results, "profiles")["decoding"]
    lines = []
    for rows_, step in said["steps"].items():
        matrix = step["shares"]["matrix products"]
        lines.append(
            (
                rows_,
                f"{step['seconds'] * 1000:.0f} ms",
                f"{step['limit'] * 1000:.0f} ms ({step['bound_by']})",
                f"{100 * step['limit'] / step['seconds']:.0f} %",
                f"{100 * matrix:.0f} %",
                f"{int(rows_) / step['seconds']:.0f}",
            )
        )
    text = markdown(("Rows", "Step", "Limit", "Share of limit", "Matrix products", "Tokens/s"), lines)
    return (
        f"{text}\n\nA step reads {said['weight_bytes'] / 1e9:.2f} GB of weights and does {said['flops_per_row'] / 1e9:.2f} GFLOP per row; "
        f"the machine reads {said['bandwidth'] / 1e9:.0f} GB/s and multiplies at {said['peak'] / 1e9:.0f} GFLOP/s."
    )


def study(results: dict[str, Any]) -> str:
    """Stages of the studies."""
    lines = []
    for row in results["topics"]["study"]["rows"]:
        stages = row["details"].get("stages")
        if stages:
            longest = sorted(stages.items(), key=lambda item: -item[1])
            peak = row["details"].get("peak_gib")
            said = ", ".join(f"{name} {took:.0f} s" for name, took in longest)
            lines.append((row["work"], row["ours"], f"{peak:.2f} GiB" if peak else "–", said))
    if not lines:
        raise KeyError("study")
    return markdown(("Study", "Time", "Peak memory", "Stages"), lines)


def serving(results: dict[str, Any]) -> str:
    """The server beside `transformers serve`."""
    found = results["topics"]["serving"]["rows"]
    if not found:
        raise KeyError("serving")
    lines = [(row["work"], row["ours"], row["theirs"], reached(row), row["note"] or "") for row in found]
    return markdown(("Work", "rhat serve", "Against", "Ratio (above 1: rhat is faster)", "Note"), lines)


PARTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "summary": summary,
    "machine": machine,
    "grid": grid,
    "capture": capture,
    "forward": forward,
    "scaling": scaling,
    "tricks": tricks,
    "profile": profile,
    "decoding": decoding,
    "study": study,
    "serving": serving,
}

if __name__ == "__main__":
    write(json.loads((HERE / "results.json").read_text(encoding="utf-8")))
