"""The questions of a study, each in a folder of its own: words, rows, measurements, verdict, figures and tables.

This table is their order everywhere: study, results.json, report, command line and documentation. A new question is a folder
with a QUESTION and a line here. Only the `measure` modules need torch, and they are imported when something is measured.
"""

from importlib import import_module

from rhat.questions.question import Question

KEYS = (
    "induce",
    "projections",
    "pca",
    "suppress",
    "scopes",
    "repe",
    "heads",
    "finders",
    "over_refusal",
    "dose_response",
    "stability",
    "horizon",
)
QUESTIONS: tuple[Question, ...] = tuple(import_module(f"{__name__}.{key}").QUESTION for key in KEYS)

__all__ = ["KEYS", "QUESTIONS", "Question"]
