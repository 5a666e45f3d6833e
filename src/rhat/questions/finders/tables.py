"""Tables: Which finder finds it?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.tables import (
    ALIKE,
    LAYER,
    Column,
    N,
    Table,
    build,
    comparisons,
    figure,
    joined,
    numeric,
    text,
    three,
)
from rhat.display.wording import percent
from rhat.questions.finders.rows import Rows


def tables(results: Results) -> list[Table]:
    """The tables of its section."""

    def accuracy(key: str) -> Column:
        return numeric("Accuracy, 95% interval", lambda row: wording.rate(joined(row, rate=getattr(row, key))))

    by_finder = [
        text("Finder", "name", wording.finder),
        LAYER,
        figure("Cosine with r̂", "cosine_to_rhat"),
        accuracy("test_accuracy"),
        ALIKE,
        N,
        figure("Setting it", "set_effect", wording.measure),
    ]
    probes = [
        text("Probe", "method", wording.finder),
        figure("Layer", "layer", str),
        accuracy("accuracy"),
        ALIKE,
        figure("Accuracy in folds of training pairs", "cross_validated", percent),
        figure("Loss", "loss", three),
        figure("Inconsistency", "consistency", three),
        figure("Cosine with r̂", "cosine_to_rhat"),
        figure("Components", "components", str),
        figure("Training pairs", "n_pairs", str),
        N,
    ]
    part = results.part(Rows)
    tasks = [
        table
        for name in dict.fromkeys(row.set for row in part.ccs)
        for table in build(f"Probes of pairs, {name}", [row for row in part.ccs if row.set == name], probes)
    ]
    return [
        *build("Finders", [row for row in part.finders if row.name != "ccs"], by_finder),
        *tasks,
        *comparisons(results, "finders"),
    ]
