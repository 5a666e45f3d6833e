"""Tables: How much of the sequence is needed?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.tables import KL, RATE, SCORE, N, Table, build, comparisons, figure, text
from rhat.display.wording import percent
from rhat.questions.scopes.rows import Rows


def tables(results: Results) -> list[Table]:
    """The tables of its section."""
    columns = [text("Scope", "scope", wording.scope), figure("Tokens edited", "token_share", percent)]
    return [
        *build("Setting under each token scope", results.part(Rows).scopes, [*columns, RATE, SCORE, KL, N]),
        *comparisons(results, "scopes"),
    ]
