"""Tables: Dose and response"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.tables import KL, RATE, SCORE, N, Table, build, comparisons, figure, text, with_interval
from rhat.questions.dose_response.rows import Rows


def tables(results: Results) -> list[Table]:
    """The tables of its section."""
    columns = [
        text("Operator", "op", wording.operator),
        figure("Target", "target"),
        figure("Coefficient", "coefficient"),
        RATE,
        SCORE,
        KL,
        N,
    ]
    half = [
        text("Operator", "op", wording.operator),
        with_interval("Dose of half effect, 95% interval", "dose"),
        text("Unit", "unit"),
    ]
    return [
        *build("Dose of half effect", results.part(Rows).half_effect, half),
        *build("Dose and response", results.part(Rows).dose, columns),
        *comparisons(results, "dose_response"),
    ]
