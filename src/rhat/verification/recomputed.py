"""Recomputed: a value that was computed again, and where in results.json it belongs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rhat.statistics import Interval


@dataclass(frozen=True)
class Recomputed:
    """`value` belongs at `path`; of a row, the fields that could be computed, all of them where it is `whole`."""

    path: tuple[str | int, ...]
    value: Any
    whole: bool = False


def correction(found: Interval | None, estimate: str) -> dict[str, float]:
    """A corrected rate or difference as fields; none where the judge allows none."""
    if found is None:
        return {}
    return {f"corrected_{estimate}": found.estimate, "corrected_ci_low": found.low, "corrected_ci_high": found.high}
