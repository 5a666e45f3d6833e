"""What a study was expected to compute, held against the ledger of what it computed."""

import pytest

import rhat
import studies
from rhat.model.work import Work
from rhat.study import StudyConfig, run
from rhat.study.config import PRESETS_OF
from rhat.study.cost import EXPERIMENTS, study_work
from rhat.study.opening import open_model, open_prompts
