"""Tables: Ablating or subtracting?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display.tables import (
    DAMAGE,
    KL,
    RATE,
    SCORE,
    UNIT_DIFFERENCE,
    VERSUS,
    N,
    Table,
    build,
    comparisons,
    figure,
    numeric,
    rates,
    text,
    three,
)
from rhat.questions.suppress.rows import Rows


def tables(results: Results) -> list[Table]:
    """The tables of its section."""
    damage = [
        text("Operator", "op"),
        text("Sites", "sites"),
        figure("Coefficient", "coefficient"),
        RATE,
        SCORE,
        KL,
        *DAMAGE[1:],
        N,
    ]
    matched = [
        VERSUS,
        text("Sites", "sites"),
        numeric("KL (nats)", lambda row: f"{three(row.kl_treatment)}, {three(row.kl_reference)}"),
        UNIT_DIFFERENCE,
        N,
    ]
    both = results.part(Rows).ablate_vs_subtract
    pairs = both.matched if both else ()
    return [
        *rates(results, "harmful"),
        *comparisons(results, "suppress"),
        *build("Ablating and subtracting at matched damage", pairs, matched),
        *build("Refusal and damage", results.part(Rows).damage, damage, collapsed=True),
    ]
