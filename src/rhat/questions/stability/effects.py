"""Effects: what the directions found on other samples do, and the interval of r̂'s effect over the whole pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rhat.artifacts.measured import Answered, rate_part, score_part
from rhat.statistics import Interval, judge, paired_comparison
from rhat.statistics.pipeline import pipeline_interval


def effect_part(m: Answered) -> dict[str, Any]:
    """The refusals and scores of a condition."""
    return {**score_part(m.scores, m.topics), **rate_part(m.refused, m.topics)}


def split_part(baseline: Answered, treated: Answered) -> dict[str, Any]:
    """The refusals of one split's test prompts, without an edit and with it, as fields of its row."""
    unedited = "baseline" if treated.label == "harmless" else "baseline_harmful"
    edited = "set_projection" if treated.label == "harmless" else "ablate"
    return {unedited: effect_part(baseline), edited: effect_part(treated)}


def pipeline_part(own: Answered, baseline: Answered, again: Sequence[Answered]) -> dict[str, Any]:
    """r̂'s effect on the rate of refusals with its interval over prompts alone, and over the directions of the samples as well.

    All on the same prompts. The second interval needs two samples or more.
    """
    found = paired_comparison(own.refused, baseline.refused, groups=own.topics)
    part: dict[str, Any] = {"n": found.n, "difference": found.difference}
    part |= {"ci_low": found.ci_low, "ci_high": found.ci_high}
    if len(again) < 2:
        return part
    effects = [float(m.refused.mean() - baseline.refused.mean()) for m in again]
    whole = pipeline_interval(Interval(found.difference, found.ci_low, found.ci_high, found.n), effects)
    low, high = max(whole.low, -1.0), min(whole.high, 1.0)
    part |= {"pipeline_ci_low": low, "pipeline_ci_high": high, "mean_difference": sum(effects) / len(effects)}
    return part | {"verdict": judge((low, high))}
