"""Verdict: What does PCA show?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display.wording import number, percent
from rhat.questions.pca.rows import Rows
from rhat.questions.question import Verdict


def verdict(results: Results) -> Verdict | None:
    """Does the first principal component separate them, and is it r̂?"""
    rows = results.part(Rows).pca
    if not rows:
        return None
    best = max(rows, key=lambda row: abs(row.cosine_pc1_rhat))
    at = results.at_layer("pca", results.part(Rows).pca)
    row = at[0] if at else best
    sentence = (
        f"At layer {row.layer} the first component explains {percent(row.explained[0])} of the "
        f"variance and its cosine with r̂ is {number(row.cosine_pc1_rhat)}."
    )
    reasons = (
        f"The largest cosine is {number(best.cosine_pc1_rhat)}, at layer {best.layer}; "
        "a component has no sign of its own.",
    )
    return Verdict("measured", sentence, reasons)
