"""Tables: How few heads?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display.tables import LAYER, RATE, SCORE, UNIT_DIFFERENCE, N, Table, build, comparisons, figure, text, three
from rhat.display.wording import p_value
from rhat.questions.heads.rows import Rows


def tables(results: Results) -> list[Table]:
    """The tables of its section."""
    found = results.part(Rows).heads
    if found is None:
        return []
    curve = [figure("k", "k", str), text("Chosen", "kind"), figure("Seed", "seed", str), RATE, SCORE, N]
    per_k = [
        figure("k", "k", str),
        text("Chosen", "kind"),
        text("Against", "reference"),
        UNIT_DIFFERENCE,
        figure("Holm p", "holm_p", p_value),
        N,
    ]
    ranking = [LAYER, figure("Head", "head", str), figure("Contribution (units)", "attribution", three)]
    return [
        *build("Patched heads against baseline and random heads", found.comparisons, per_k, collapsed=True),
        *build("Refusal by number of heads", found.curve, curve, collapsed=True),
        *build("Heads by contribution", found.ranking, ranking, collapsed=True),
        *comparisons(results, "heads"),
    ]
