"""The study: experiments as plain functions of a lab, and the run that strings them together and can be resumed."""

from rhat.study.config import PRESETS, QUESTIONS, Preset, StudyConfig
from rhat.study.lab import Lab, Measurement
from rhat.study.run import EXPERIMENTS, open_lab, run

__all__ = ["EXPERIMENTS", "PRESETS", "QUESTIONS", "Lab", "Measurement", "Preset", "StudyConfig", "open_lab", "run"]
