"""The rows of measurements, as experiments make them: `rhat.artifacts.measured` and `Part`, under the lab's name."""

from rhat.artifacts.measured import (
    alike_part,
    compare,
    compared,
    drift_row,
    entropy_part,
    kl_part,
    merge,
    rate_part,
    rate_row,
    score_part,
    score_row,
    undecided,
)
from rhat.artifacts.rows import Part

__all__ = [
    "Part",
    "alike_part",
    "compare",
    "compared",
    "drift_row",
    "entropy_part",
    "kl_part",
    "merge",
    "rate_part",
    "rate_row",
    "score_part",
    "score_row",
    "undecided",
]
