"""One experiment alone, from a direction file: what `rhat heads`, `layers`, `pca` and `probe` run."""

from __future__ import annotations

from typing import Any

from rhat.directions import Direction
from rhat.errors import StudyError
from rhat.model.chat import ChatModel
from rhat.prompts import ContrastSet
from rhat.selection.finding import FindSettings, Progress, survey
from rhat.study.config import PRESETS
from rhat.study.lab import Lab
from rhat.study.run import EXPERIMENTS


def _silent(_stage: str, _done: int, _total: int) -> None:
    pass


def lab_for(
    model: ChatModel,
    direction: Direction,
    prompts: ContrastSet,
    preset: str = "quick",
    *,
    seed: int = 0,
    margin: float = 0.10,
    progress: Progress = _silent,
) -> Lab:
    """A lab for a direction that was found before: refusal tokens, the behaviour filter and the means are made anew.

    Raises:
        DirectionError: if the direction is another model's.
        StudyError: if the model hardly refuses, so that there is nothing to measure with, or an experiment is unknown.
    """
    direction.check_fits(model)
    sizes = PRESETS[preset]
    finding = survey(model, prompts, FindSettings(validation=sizes.validation), progress=progress)
    if finding.means is None:
        raise StudyError(f"{finding.sentence}; take a model that refuses")
    return Lab(model, prompts, finding, direction, sizes, seed, margin, progress)


def run_single(name: str, lab: Lab) -> dict[str, Any]:
    """The part of results.json that one experiment gives.

    Raises:
        StudyError: if there is no such experiment.
    """
    if name not in EXPERIMENTS:
        raise StudyError(f"experiment {name!r}: expected one of {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name](lab)
