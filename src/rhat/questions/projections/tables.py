"""Tables: What do projections look like?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display.tables import LAYER, N, Table, build, figure, numeric, text, with_interval
from rhat.questions.projections.rows import Rows


def tables(results: Results) -> list[Table]:
    """The tables of its section."""
    kinds = [
        LAYER,
        text("Prompts", "label"),
        text("Split", "split"),
        figure("Mean", "mean"),
        figure("Sd", "sd"),
        N,
    ]
    within = [
        text("Comparison", "comparison"),
        with_interval("AUROC, 95% interval", "auroc", 3),
        numeric("n", lambda row: f"{row.n_positive} + {row.n_negative}"),
    ]
    by_layer = [LAYER, with_interval("AUROC, 95% interval", "auroc", 3), N]
    return [
        *build("Separation within one kind of prompt", results.auroc_within, within),
        *build("Projections by layer (residual units)", results.part(Rows).projections, kinds, collapsed=True),
        *build("AUROC by layer, harmful against harmless", results.part(Rows).auroc, by_layer, collapsed=True),
    ]
