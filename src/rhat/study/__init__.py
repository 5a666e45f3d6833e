"""The study: a run of the questions' experiments, in order, which can be resumed."""

from rhat.lab import PRESETS, Lab, Measurement, Preset
from rhat.study.config import NAMES, StudyConfig
from rhat.study.experiments import EXPERIMENTS
from rhat.study.opening import open_lab
from rhat.study.run import run

__all__ = ["EXPERIMENTS", "NAMES", "PRESETS", "Lab", "Measurement", "Preset", "StudyConfig", "open_lab", "run"]
