"""The verdicts of a run, by the key of their question."""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.questions import QUESTIONS
from rhat.questions.question import Verdict


def verdicts(results: Results) -> dict[str, Verdict]:
    """The verdict on every question that the run has numbers for, in the order of the questions.

    Raises:
        ArtifactError: if a row that the run must have is missing; it lists those it has.
    """
    answers = {question.key: question.verdict(results) for question in QUESTIONS}
    return {key: verdict for key, verdict in answers.items() if verdict is not None}
