"""The experiments, in the order in which they run: those of the questions, and the audit."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from rhat.artifacts.rows import Part
from rhat.lab import Lab
from rhat.questions import QUESTIONS
from rhat.study.audit import audit

Run = Callable[[Lab], Part]


EXPERIMENTS: dict[str, Run] = {
    experiment.name: getattr(import_module(f"rhat.questions.{question.key}.measure"), experiment.name)
    for question in QUESTIONS
    for experiment in question.experiments
} | {"audit": audit}
"""The experiments by name: functions of a lab that return parts of results.json."""
