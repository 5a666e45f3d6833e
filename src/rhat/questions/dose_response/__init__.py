"""Dose and response"""

from rhat.questions.dose_response import figures
from rhat.questions.dose_response.rows import Rows
from rhat.questions.dose_response.tables import tables
from rhat.questions.dose_response.verdict import verdict
from rhat.questions.question import EVERY, Drawing, Experiment, Question

QUESTION = Question(
    key="dose_response",
    title="Dose and response",
    asked=("How does refusal follow the projection aimed at, from below the harmless mean to above the harmful one?"),
    how=("Harmless prompts; the dose of half effect is read off the curve with a bootstrap interval."),
    experiments=(Experiment("dose_response", EVERY),),
    rows=Rows,
    verdict=verdict,
    tables=tables,
    figures=(
        Drawing(
            "dose",
            "Dose and response",
            "Refusal with 95% intervals against the projection aimed at, and the damage below.",
            figures.dose,
        ),
    ),
    labels={},
    headline=False,
)
