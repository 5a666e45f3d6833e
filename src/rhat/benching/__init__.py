"""Benching: every way to find and to move refusal, side by side at equal damage; and the dose of an edit that does a given damage."""

from rhat.benching.cost import told_of_bench
from rhat.benching.document import BenchResults
from rhat.benching.dose import calibrate_dose
from rhat.benching.measure import bench
from rhat.benching.rows import CalibratedDose
from rhat.benching.settings import BenchSettings

__all__ = ["BenchResults", "BenchSettings", "CalibratedDose", "bench", "calibrate_dose", "told_of_bench"]
