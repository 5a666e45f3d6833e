"""Guard: calibrated thresholds on a prompt's projection, and interventions conditional on them."""

from rhat.guard.alarm import Alarm
from rhat.guard.calibration import (
    Calibration,
    beside,
    calibrate,
    evaluate,
    evaluate_projections,
    from_projections,
)
from rhat.guard.certificate import Certificate, Claim, Setting
from rhat.guard.certifying import certify
from rhat.guard.conditional import Conditional, by_gate, relax, strengthen
from rhat.guard.reading import check_position, check_prefix, fingerprint, prompt_projections

__all__ = [
    "Alarm",
    "Calibration",
    "Certificate",
    "Claim",
    "Conditional",
    "Setting",
    "beside",
    "by_gate",
    "calibrate",
    "certify",
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
