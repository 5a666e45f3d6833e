"""The gauges of a bench: harmfulness and refusal as two directions, with the bench's preset and r̂."""

from __future__ import annotations

from typing import Any

from rhat.benching.entries import Bench
from rhat.benching.settings import BenchSettings
from rhat.gauges import GaugeSettings
from rhat.gauges.measure import gauges_of


def gauge_settings(settings: BenchSettings) -> GaugeSettings:
    """How much `rhat gauges` measures with the same preset."""
    return GaugeSettings(None, settings.preset, settings.seed, settings.judged_tokens)


def gauges(bench: Bench) -> dict[str, Any]:
    """What `rhat gauges` writes of the same direction.

    Raises:
        StudyError: if r̂ was found at the instruction's last token, or the prompts lack a split.
    """
    return {"gauges": gauges_of(bench.lab, gauge_settings(bench.settings))}
