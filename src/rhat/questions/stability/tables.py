"""Tables: Is it one direction?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.tables import Table, build, comparisons, figure, numeric
from rhat.questions.stability.rows import Rows


def tables(results: Results) -> list[Table]:
    """The tables of its section."""
    found = results.part(Rows).stability
    columns = [
        figure("Round", "round", str),
        figure("Cosine with r̂", "cosine_to_first"),
        figure("Length (units)", "norm"),
        figure("Set, harmless prompts", "induce", wording.measure),
        figure("Ablated, harmful prompts", "prevent", wording.measure),
        numeric("n", lambda row: str(row.induce.n) if row.induce is not None else ""),
    ]
    return [
        *build("Directions found after ablating the ones before", found.refits if found else (), columns),
        *comparisons(results, "stability"),
    ]
