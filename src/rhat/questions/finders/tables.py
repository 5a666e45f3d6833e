"""Tables: Which finder finds it?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.tables import LAYER, Column, N, Table, build, comparisons, figure, joined, numeric, text, three
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
        N,
        figure("Setting it", "set_effect", wording.measure),
    ]
    probes = [
        text("Pairs", "set"),
        text("Probe", "method", wording.finder),
        accuracy("accuracy"),
        figure("Loss", "loss", three),
        figure("Inconsistency", "consistency", three),
        figure("Cosine with r̂", "cosine_to_rhat"),
        figure("Training pairs", "n_pairs", str),
        N,
    ]
    return [
        *build("Finders", results.part(Rows).finders, by_finder),
        *build("CCS on contrast pairs, beside PCA", results.part(Rows).ccs, probes),
        *comparisons(results, "finders"),
    ]
