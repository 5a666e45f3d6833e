"""The lab: what experiments share. A model with its r̂ and prompts, memoised measurements, controls, and rows of results."""

from rhat.lab.asked import Asked
from rhat.lab.lab import Lab
from rhat.lab.measurement import Measurement, RotatedControls, Treatment
from rhat.vocabulary import PRESETS, Preset

__all__ = ["PRESETS", "Asked", "Lab", "Measurement", "Preset", "RotatedControls", "Treatment"]
