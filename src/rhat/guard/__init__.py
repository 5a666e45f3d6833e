"""Guard: calibrated thresholds on a prompt's projection, and interventions conditional on them."""

from rhat.guard.alarm import Alarm
from rhat.guard.calibration import (
    Calibration,
    beside,
    calibrate,
    evaluate,
    evaluate_projections,
    fingerprint,
    from_projections,
)
from rhat.guard.conditional import Conditional, by_gate, relax, strengthen
from rhat.guard.reading import check_position, check_prefix, prompt_projections

__all__ = [
    "Alarm",
    "Calibration",
    "Conditional",
    "beside",
    "by_gate",
    "calibrate",
    "check_position",
    "check_prefix",
    "evaluate",
    "evaluate_projections",
    "fingerprint",
    "from_projections",
    "prompt_projections",
    "relax",
    "strengthen",
]
