"""Tables: What does PCA show?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display.tables import LAYER, Table, build, figure, numeric
from rhat.display.wording import percent
from rhat.questions.pca.rows import Rows


def tables(results: Results) -> list[Table]:
    """The tables of its section."""
    columns = [
        LAYER,
        numeric("Variance explained", lambda row: ", ".join(map(percent, row.explained))),
        figure("Cosine of PC 1 with r̂", "cosine_pc1_rhat"),
        numeric("Prompts drawn", lambda row: str(len(row.points)) if row.points else ""),
    ]
    return build("Principal components by layer", results.part(Rows).pca, columns)
