"""How many answer tokens another condition has said before: `python benchmarks/alike.py runs/example/stages`.

Of every stage that keeps answers to harmless prompts of two conditions or more: the share of their tokens, the first ones of
the answers aside, up to which another condition's answer to the same prompt is the same.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def measurements(value: Any) -> Iterator[dict[str, Any]]:
    """Every measurement with tokens in what a stage kept."""
    if isinstance(value, dict):
        if value.get("tokens") and "verdicts" in value:
            yield value
            return
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from measurements(one)


def main() -> None:
    """Print a table."""
    print("| stage | conditions | tokens | said before |\n| --- | --- | --- | --- |")
    for path in sorted(Path(sys.argv[1]).glob("*.json")):
        found = list(measurements(json.loads(path.read_text("utf-8"))))
        answers: dict[int, list[tuple[int, ...]]] = defaultdict(list)
        for one in found:
            for i, tokens in enumerate(one["tokens"]):
                answers[i].append(tuple(tokens))
        said = sum(max(0, len(t) - 1) for some in answers.values() for t in some)
        if len(found) < 2 or not said:
            continue
        different = sum(len({t[:k] for t in some for k in range(1, len(t))}) for some in answers.values())
        print(f"| {path.stem} | {len(found)} | {said} | {1 - different / said:.0%} |")


if __name__ == "__main__":
    main()
