"""What a study will compute, stage by stage, in the ledger's own arithmetic, before any of it is done.

Beside each experiment, in its question's measure.py, stands a function of its name with `_cost`. It says how many conditions are
run on how many prompts, not what they are: a test holds all of them against the ledger of a study.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from rhat.lab import Asked
from rhat.model.chat import ChatModel
from rhat.model.work import Work
from rhat.prompts import ContrastSet
from rhat.questions import QUESTIONS
from rhat.selection.cost import LONG, Answers, Expected, search_work
from rhat.selection.settings import FindSettings
from rhat.study.audit import AUDIT_TOKENS, AUDITED
from rhat.study.config import StudyConfig


def audit(a: Asked) -> None:
    """Two conditions with longer answers."""
    for _ in range(2):
        a.given.answered(1, a.sweep("harmless", AUDITED), AUDIT_TOKENS)


EXPERIMENTS: dict[str, Callable[[Asked], None]] = {
    experiment.name: getattr(import_module(f"rhat.questions.{question.key}.measure"), f"{experiment.name}_cost")
    for question in QUESTIONS
    for experiment in question.experiments
} | {"audit": audit}
"""What each experiment asks for."""


def study_work(
    config: StudyConfig,
    model: ChatModel,
    prompts: ContrastSet,
    *,
    answers: Answers = LONG,
    layer: int = -1,
    relaxed: bool = True,
) -> dict[str, Work]:
    """What each stage of a study will compute.

    `answers` says how long the model's answers are, `layer` is r̂'s where it is known, `relaxed` whether the published rules are
    expected to leave no candidate, which takes longer. Models differ in how many
    candidates are stopped early and in how many prompts they refuse: what they do is assumed to be what is usual.
    """
    given = Expected(model, prompts, layer, answers)
    found = search_work(given, find_settings(config), relaxed=relaxed)
    asked = Asked(given, config.sizes, config.judged_tokens, config.seeds)
    for name in config.experiments:
        EXPERIMENTS[name](asked)
        found[name] = given.lap()
    return found


def find_settings(config: StudyConfig) -> FindSettings:
    """How a study looks for r̂."""
    return FindSettings.sized(
        config.sizes,
        phrases=config.phrases,
        refusal_tokens=config.refusal_tokens,
        judged_tokens=config.judged_tokens,
    )
