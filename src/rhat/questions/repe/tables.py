"""Tables: How big is the boost, beside Zou et al.?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.tables import CONDITION, KL, RATE, SCORE, N, Table, build, comparisons, figure, text, with_interval
from rhat.display.wording import percent
from rhat.questions.repe.rows import Rows


def tables(results: Results) -> list[Table]:
    """The tables of its section."""
    repe = results.part(Rows).repe
    boosts, table = (repe.boosts, repe.table) if repe else ((), ())
    points = [
        CONDITION,
        text("Prompts", "prompts"),
        with_interval("Boost (points), 95% interval", "points", 1),
        N,
    ]
    settings = [
        text("Layers", "layers", lambda span: f"{span[0]}–{span[1]}"),
        figure("Dose (raw differences)", "dose"),
        figure("Coefficient", "coefficient"),
        figure("Validation score (nats)", "validation_score"),
        figure("Validation rate", "validation_rate", percent),
        KL,
    ]
    targets = [
        figure("Target", "target"),
        figure("Dose (gaps)", "dose"),
        *settings[3:],
    ]
    factors = [
        text("Direction", "direction", wording.direction),
        text("Operator", "op", wording.operator),
        text("Layers", "layers"),
        text("Scope", "scope", wording.scope),
        figure("Dose", "dose"),
    ]
    return [
        *build("Boost over baseline", boosts, points),
        *comparisons(results, "repe"),
        *build("RepE settings on validation prompts", table, settings, collapsed=True),
        *build("Targets of setting on validation prompts", repe.targets if repe else (), targets, collapsed=True),
        *build("Factorial", results.part(Rows).factorial, [*factors, SCORE, RATE, KL, N], collapsed=True),
    ]
