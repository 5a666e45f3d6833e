"""What a study begins with: the model, the prompts and the lab that a configuration names."""

from __future__ import annotations

from typing import Any

from rhat import model as models
from rhat.errors import StudyError
from rhat.executor import Executor, SerialExecutor
from rhat.lab import PRESETS, Lab
from rhat.prompts import ContrastSet, builtin, read
from rhat.selection.finding import Finding
from rhat.selection.settings import Progress, silent
from rhat.study.answers import Keeper, open_panel
from rhat.study.config import StudyConfig


def open_prompts(config: StudyConfig) -> ContrastSet:
    """The contrast set that a configuration names: the built-in one, or the user's files."""
    if config.harmful is None or config.harmless is None:
        return builtin(config.seed)
    return read(
        config.harmful,
        config.harmless,
        config.borderline,
        config.seed,
        twins=config.twins,
        column=config.column,
        offline=config.offline,
    )


def model_arguments(config: StudyConfig) -> dict[str, Any]:
    """What `rhat.load` is given for a configuration; it can be pickled, so that other processes load the same model."""
    said: dict[str, Any] = {
        "name": config.model,
        "dtype": config.dtype,
        "revision": config.revision,
        "offline": config.offline,
        "chat_template": config.chat_template,
        "system": config.system,
        "trust_remote_code": config.trust_remote_code,
        "device": config.device,
    }
    for name in ("max_memory", "adapter", "response_prefix"):
        if getattr(config, name):
            said[name] = getattr(config, name)
    if config.thinking != "off":
        said |= {"thinking": config.thinking, "thinking_tokens": config.thinking_tokens}
    return said


def open_model(config: StudyConfig, progress: Progress = silent) -> models.ChatModel:
    """The model that a configuration names."""
    return models.load(
        **model_arguments(config), progress=lambda stage, done, total: progress(stage, int(done), int(total))
    )


def open_lab(
    model: models.ChatModel,
    prompts: ContrastSet,
    finding: Finding,
    preset: str = "standard",
    *,
    seed: int = 0,
    margin: float = 0.10,
    progress: Progress = silent,
    executor: Executor | None = None,
) -> Lab:
    """A lab for single experiments from Python, which the functions in `rhat.study.EXPERIMENTS` take.

    Raises:
        StudyError: if nothing was found.
    """
    if finding.direction is None:
        raise StudyError(f"no direction to study: {finding.sentence}")
    return Lab(
        model.with_response_prefix(finding.response_prefix),
        prompts,
        finding,
        PRESETS[preset],
        seed,
        margin,
        progress,
        executor or SerialExecutor(),
    )


def lab_of(
    config: StudyConfig, model: Any, prompts: ContrastSet, finding: Finding, progress: Progress, executor: Executor
) -> Lab:
    """The lab of a study."""
    return Lab(
        model,
        prompts,
        finding,
        config.sizes,
        config.seed,
        config.margin,
        progress,
        executor,
        judged_tokens=config.judged_tokens,
        panel=open_panel(config.judges, model),
        keep_answers=None if config.keep_answers is None else Keeper(config.keep_answers),
        splits=config.seeds,
    )
