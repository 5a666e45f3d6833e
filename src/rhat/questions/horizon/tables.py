"""Tables: How long must answers be read?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display.tables import CONDITION, COUNTS, RATE, UNIT_DIFFERENCE, VERDICT, N, Table, build, figure, text
from rhat.display.wording import p_value
from rhat.questions.horizon.rows import Rows


def tables(results: Results) -> list[Table]:
    """The tables of its section."""
    found = results.part(Rows)
    columns = [CONDITION, text("Prompts", "prompts"), figure("Tokens", "tokens", str), RATE, COUNTS, N]
    changes = [
        CONDITION,
        text("Prompts", "prompts"),
        figure("Tokens", "tokens", str),
        figure("Most", "most", str),
        figure("Refuse late", "late", str),
        figure("Turn", "turned", str),
        UNIT_DIFFERENCE,
        figure("Holm p", "holm_p", p_value),
        VERDICT,
        N,
    ]
    return [
        *build("What reading on changes", found.horizon_changes, changes),
        *build("Answers by the tokens that are read", found.horizon, columns),
    ]
