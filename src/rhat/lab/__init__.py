"""The lab: what experiments share. A model with its r̂ and prompts, memoised measurements, controls, and rows of results."""

from rhat.lab.asked import Asked
from rhat.lab.lab import Lab
from rhat.lab.measurement import Dealt, Doing, Measurement
from rhat.vocabulary import PRESETS, Preset

__all__ = ["PRESETS", "Asked", "Dealt", "Doing", "Lab", "Measurement", "Preset"]
