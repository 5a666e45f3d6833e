"""What is measured: how much of the sequence is needed."""

from __future__ import annotations

import numpy as np

from rhat.artifacts.judging import noninferior_in_sequence
from rhat.interventions import set_projection
from rhat.lab import Asked, Lab
from rhat.lab.rows import compared, kl_part, rate_part, score_part
from rhat.questions.scopes.rows import Rows
from rhat.statistics.judgement import ALPHA

SCOPES = ("all", "prompt", "template", "last_prompt_token", "generated", "first_generated:1", "first_generated:4")


def scopes(lab: Lab) -> Rows:
    """Setting under each token scope on harmless prompts, by generation; each against all tokens (non-inferiority)."""
    d = lab.direction
    n = min(len(lab.test("harmless", lab.sizes.headline)), max(lab.sizes.sweep, 96))
    lengths = np.array([len(p) for p in lab.plan("harmless", n).prompts])
    k = lab.model.template_length
    rows, pairs = [], []
    names = {scope: "set_projection" if scope == "all" else f"scope:{scope}" for scope in SCOPES}
    treatments = {name: set_projection(d, scope=scope) for scope, name in names.items()}
    measured = lab.measure_conditions(treatments, "harmless", n, kl=True, stage="scopes")
    for scope, name in names.items():
        m = measured[name]
        said = lab.judged_tokens - 1  # tokens that are fed back, of a completion run to the end
        edited = {
            "all": lengths + said,
            "prompt": lengths,
            "template": k,
            "last_prompt_token": 1,
            "generated": said,
        }.get(scope, int(scope.partition(":")[2] or 0))
        rows.append(
            {
                "scope": scope,
                "condition": name,
                "token_share": float(np.mean(edited / (lengths + said))),
                **score_part(m.scores, m.topics),
                **rate_part(m.refused, m.topics),
                **kl_part(m.kl),
            }
        )
        if scope != "all":
            pairs.append((m, measured["set_projection"]))
    part = compared(pairs, lab.margin, "scopes")
    by_name = {row.treatment: row for row in part["comparisons"]}
    order = sorted((row for row in rows if row["scope"] != "all"), key=lambda row: -row["token_share"])
    for row, p in zip(order, noninferior_in_sequence([by_name[row["condition"]] for row in order]), strict=True):
        row |= {"sequence_p": p, "enough": p < ALPHA}
    return Rows.of({"scopes": rows} | part)


def scopes_cost(a: Asked) -> None:
    """Setting under each scope, by generation; under all tokens it was measured."""
    n = max(a.sizes.sweep, 96)
    new = len(SCOPES) - (not a.once(("set_projection", "harmless")))
    a.given.answered(new, a.sweep("harmless", n), a.tokens, a.given.layer)
