"""Ranks: where r̂'s effect stands among those of the matched controls; no torch, so that it can be computed again without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rhat.statistics.judgement import ALPHA
from rhat.statistics.permutation import among

Row = dict[str, Any]


def control_ranks(op: str, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """r̂'s rank among the controls of each kind, and among all, for each way of matching, from the rows of one operator."""
    ranks = []
    for match in ("displacement", "damage"):
        mine = [row for row in rows if row["match"] == match]
        ours = next(row["effect"] for row in mine if row["kind"] == "rhat")
        kl = next(row["kl_mean"] for row in mine if row["kind"] == "rhat")
        kinds = list(dict.fromkeys(row["kind"] for row in mine if row["kind"] != "rhat"))
        for kind in ("all", *kinds):
            others = [row for row in mine if row["kind"] in ((kind,) if kind != "all" else kinds)]
            found = among(ours, np.array([row["effect"] for row in others]))
            row: Row = {"op": op, "match": match, "kind": kind, "effect": ours, "best": found.best, "rank": found.rank}
            clear = found.p < ALPHA and ours > 0
            row |= {"p": found.p, "n_controls": found.n, "verdict": "better" if clear else "undecided"}
            if match == "damage":
                row["apart"] = sum(not 1 / 1.5 <= r["kl_mean"] / max(kl, 1e-9) <= 1.5 for r in others)
            ranks.append(row)
    return ranks
