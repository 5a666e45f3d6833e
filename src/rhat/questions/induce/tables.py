"""Tables: Is adding as good as setting?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.tables import (
    CONDITION,
    DAMAGE,
    LAYER,
    N,
    Table,
    build,
    comparisons,
    figure,
    joined,
    numeric,
    rates,
    text,
)
from rhat.display.wording import percent
from rhat.questions.induce.rows import Rows


def tables(results: Results) -> list[Table]:
    """The tables of its section."""
    layers = [
        LAYER,
        figure("Harmless mean", "harmless_mean_projection"),
        figure("Harmful mean", "harmful_mean_projection"),
        figure("Set, rate", "set_rate", percent),
        figure("Add, rate", "add_rate", percent),
        figure("Set, score", "set_score"),
        figure("Add, score", "add_score"),
        numeric("Set − add, 95% interval", lambda row: wording.difference(joined(row, difference=row.gap))),
        N,
    ]
    ranks = [
        text("Operator", "op", wording.operator),
        text("At equal", "match"),
        text("Controls", "kind", wording.control),
        figure("r̂'s effect (nats)", "effect"),
        figure("Highest control", "best"),
        numeric("Rank", lambda row: f"{row.rank} of {row.n_controls + 1}"),
        figure("p", "p", wording.p_value),
        figure("Damage not matched", "apart", str),
    ]
    return [
        *rates(results, "harmless"),
        *comparisons(results, "induce"),
        *build("r̂ among control directions", results.part(Rows).control_ranks, ranks, collapsed=True),
        *build("Damage on harmless prompts", results.drift, [CONDITION, *DAMAGE, N]),
        *build("Setting and adding by layer", results.part(Rows).layers, layers, collapsed=True),
    ]
