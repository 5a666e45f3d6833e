"""Benching: every way to find and to move refusal, side by side at equal damage; and the dose of an edit that does a given damage."""

from rhat.benching.dose import calibrate_dose
from rhat.benching.rows import CalibratedDose

__all__ = ["CalibratedDose", "calibrate_dose"]
