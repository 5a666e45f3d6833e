"""Traffic: prompts and conversations that were sent already, held against a calibrated guard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rhat.directions import Direction
from rhat.errors import PromptError
from rhat.guard.calibration import Calibration
from rhat.guard.reading import prompt_projections
from rhat.model.chat import ChatModel
from rhat.model.template import ChatPrompt
from rhat.prompts.rows import Row
from rhat.reprs import one_line
from rhat.statistics import wilson

BINS = 12  # of the histogram on each side of the threshold, at most


@dataclass(frozen=True)
class Traffic:
    """What a guard says of prompts.

    prompts     one record each, in order: id, group, projection (residual-stream units), flagged, text
    rates       one record for all and one a group: group, n, flagged, rate, and its 95 % Wilson interval low and high
    histogram   {"low", "high", "n"} of equal bins of the projection, one of whose edges is the threshold
    threshold, target_fpr, expected   those of the calibration; expected is the rate of harmless prompts like its own
    certificate                       what was certified beside it, in sentences; none where none was asked for
    """

    prompts: tuple[dict[str, Any], ...]
    rates: tuple[dict[str, Any], ...]
    histogram: tuple[dict[str, Any], ...]
    threshold: float
    target_fpr: float
    expected: dict[str, Any]
    certificate: tuple[str, ...] = ()

    __repr__ = one_line

    def describe(self) -> dict[str, Any]:
        """All of it as JSON may hold it."""
        return {
            "threshold": self.threshold,
            "target_fpr": self.target_fpr,
            "expected": self.expected,
            "certificate": list(self.certificate),
            "rates": list(self.rates),
            "histogram": list(self.histogram),
            "prompts": list(self.prompts),
        }


def read_traffic(model: ChatModel, direction: Direction, calibration: Calibration, rows: Sequence[Row]) -> Traffic:
    """Project each row (a conversation up to its last user turn) and compare it with the threshold; nothing is generated.

    Raises:
        PromptError: if there are no rows, or a conversation has no user turn.
        ArtifactError: if the calibration is another direction's.
        DirectionError: if the direction does not fit the model.
    """
    calibration.check_belongs(direction)
    if not rows:
        raise PromptError("traffic: got no prompts, expected at least one")
    asked = [_asked(row) for row in rows]
    values = prompt_projections(model, direction, asked)
    flagged = values > calibration.threshold
    prompts = tuple(
        {
            "id": row.id or f"prompt-{number:04d}",
            "group": row.category,
            "projection": float(value),
            "flagged": bool(above),
            "text": ask if isinstance(ask, str) else ask[-1]["content"],
        }
        for number, (row, ask, value, above) in enumerate(zip(rows, asked, values, flagged, strict=True), start=1)
    )
    groups = sorted({row.category for row in rows if row.category})
    rates = [_rate("all", flagged)]
    rates += [_rate(name, flagged[[row.category == name for row in rows]]) for name in groups]
    expected = calibration.false_positive_rate
    return Traffic(
        prompts,
        tuple(rates),
        histogram(values, calibration.threshold),
        calibration.threshold,
        calibration.target_fpr,
        {"estimate": expected.estimate, "low": expected.low, "high": expected.high, "n": expected.n},
        () if calibration.certificate is None else tuple(calibration.certificate.sentences),
    )


def _asked(row: Row) -> ChatPrompt:
    """What the model was asked: a prompt, or a conversation without the answer to its last user turn."""
    last = max((i for i, (role, _) in enumerate(row.messages) if role == "user"), default=None)
    if not row.messages:
        return row.text
    if last is None:
        raise PromptError(f"{row.where}: got a conversation without a user turn, expected one to be answered")
    return [{"role": role, "content": content} for role, content in row.messages[: last + 1]]


def _rate(group: str, flagged: Any) -> dict[str, Any]:
    n = int(flagged.sum())
    found = wilson(n, len(flagged))
    return {
        "group": group,
        "n": len(flagged),
        "flagged": n,
        "rate": found.estimate,
        "low": found.low,
        "high": found.high,
    }


def histogram(values: Any, threshold: float) -> tuple[dict[str, Any], ...]:
    """Counts in equal bins (low, high] that meet at the threshold, so that those above it are the flagged ones."""
    low, high = float(np.min(values)), float(np.max(values))
    width = max(threshold - low, high - threshold, 1e-9) / BINS
    first, last = -int(np.ceil((threshold - low) / width - 1e-9)), int(np.ceil((high - threshold) / width - 1e-9))
    found = np.ceil((np.asarray(values) - threshold) / width - 1e-9).astype(
        int
    )  # bin k holds (threshold + (k−1) w, threshold + k w]
    found[(np.asarray(values) > threshold) & (found < 1)] = 1
    edges = range(min(first, int(found.min()), 1), max(last, int(found.max()), 0) + 1)
    return tuple(
        {"low": threshold + (k - 1) * width, "high": threshold + k * width, "n": int((found == k).sum())} for k in edges
    )
