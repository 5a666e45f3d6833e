"""The report's figures, in the order of the page."""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.questions import QUESTIONS
from rhat.questions.question import Drawing, Figure
from rhat.report.appendix import CANDIDATES, CONTROLS
from rhat.report.picture import OPENING

FIGURES: tuple[Drawing, ...] = (
    OPENING,
    *(drawing for question in QUESTIONS for drawing in question.figures),
    CONTROLS,
    CANDIDATES,
)


def drawn(results: Results) -> list[tuple[Drawing, Figure]]:
    """Every figure that the run has numbers for."""
    made = [(drawing, drawing.draw(results)) for drawing in FIGURES]
    return [(drawing, figure) for drawing, figure in made if figure is not None]
