"""Tables: What do projections look like?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display.tables import LAYER, N, Table, build, figure, numeric, text, three, with_interval
from rhat.display.wording import interval, number
from rhat.questions.projections.rows import Rows, Transfer


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
    by_words = [
        text("Comparison", "comparison"),
        with_interval("AUROC by words, 95% interval", "auroc", 3),
        figure("Projection − words", "difference", three),
        within[-1],
    ]
    own = [row for row in results.part(Rows).transfer if row.left_out == row.tested]
    left_out = [
        text("Category left out and tested", "tested", lambda name: name.replace("_", " ")),
        with_interval("AUROC, 95% interval", "auroc", 3),
        numeric("By words, 95% interval", _by_words),
        within[-1],
    ]
    return [
        *build("Separation within one kind of prompt, and of twins", results.auroc_within, within),
        *build("The same by words alone", results.part(Rows).words, by_words),
        *build("r̂ found without a category, tested on it", own, left_out, collapsed=True),
        *build("Projections by layer (residual units)", results.part(Rows).projections, kinds, collapsed=True),
        *build("AUROC by layer, harmful against harmless", results.part(Rows).auroc, by_layer, collapsed=True),
    ]


def _by_words(row: Transfer) -> str:
    """The area by words with its interval, which older files lack."""
    if row.words_auroc is None:
        return ""
    known = row.words_ci_low is not None and row.words_ci_high is not None
    ends = f" {interval(row.words_ci_low or 0.0, row.words_ci_high or 0.0, digits=3)}" if known else ""
    return f"{number(row.words_auroc, 3)}{ends}"
