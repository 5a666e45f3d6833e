"""The claims of a study: what is claimed, against which margin, by which test, in which family. Fixed before anything is measured.

The table stands in the source, and no measurement has a say in it; results.json names its fingerprint. Everything that is not in it
is exploratory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from rhat.artifacts.header import Claim
from rhat.artifacts.rows import Comparison
from rhat.errors import ArtifactError
from rhat.statistics import Judgement, holm, judge, margin_tests
from rhat.statistics.judgement import ALPHA

Test = Literal["more", "less", "equivalent", "noninferior"]
WORDS: dict[str, Judgement] = {"more": "better", "less": "worse", "equivalent": "equivalent"}


@dataclass(frozen=True)
class Rule:
    """One claim, as it is fixed beforehand.

    test    more, less: exact McNemar test (by topics, where prompts share them) in that direction, doubled; equivalent: two one-sided tests at ±margin;
            noninferior: the lower of these alone
    family  claims whose p values are adjusted together, by `method`: holm, or in the sequence that `treatment` tells
    """

    id: str
    claim: str
    treatment: str
    reference: str
    prompts: str
    test: Test
    family: str = "primary"
    method: Literal["holm", "fixed sequence"] = "holm"

    @property
    def names(self) -> tuple[str, str, str]:
        """Treatment, reference and prompts of the comparison that it is about."""
        return self.treatment, self.reference, self.prompts


RULES = (
    Rule(
        "set_vs_baseline",
        "Setting r̂ to its harmful mean makes the model refuse harmless requests",
        "set_projection",
        "baseline",
        "harmless",
        "more",
    ),
    Rule(
        "add_vs_set",
        "Adding the harmful mean refuses as often as setting it, within {margin}",
        "add_average",
        "set_projection",
        "harmless",
        "equivalent",
    ),
    Rule(
        "random_vs_baseline",
        "Setting random directions by the same displacement changes refusals by less than {margin}",
        "random_set_projection",
        "baseline",
        "harmless",
        "equivalent",
    ),
    Rule(
        "ablate_vs_baseline",
        "Ablating r̂ keeps the model from refusing harmful requests",
        "ablate",
        "baseline",
        "harmful",
        "less",
    ),
    Rule(
        "heads_vs_random",
        "Patching six heads at one token makes it refuse more than patching six random ones",
        "heads:6",
        "random_heads:6",
        "harmless",
        "more",
    ),
    Rule(
        "smallest_scope",
        "The smallest part of the sequence where setting refuses as often as at every token, less at most {margin}",
        "scopes, from the largest part down",
        "set_projection",
        "harmless",
        "noninferior",
        "scopes",
        "fixed sequence",
    ),
    Rule(
        "smallest_k",
        "The smallest number of heads whose patching refuses more than no patch and more than random heads of the same layers",
        "heads by attribution, from the most down",
        "baseline and random heads",
        "harmless",
        "more",
        "heads",
        "fixed sequence",
    ),
)
PRIMARY = tuple(rule for rule in RULES if rule.family == "primary")


def fingerprint(margin: float) -> str:
    """sha256 over the whole table, and the margin that its claims are tested at."""
    table = {"margin": margin, "alpha": ALPHA, "rules": [asdict(rule) for rule in RULES]}
    return hashlib.sha256(json.dumps(table, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def claim_p(rule: Rule, row: Comparison) -> float:
    """The p of the claim's own test, before any adjustment.

    Raises:
        ArtifactError: if the comparison does not hold its discordant counts.
    """
    b, c = row.treatment_only, row.reference_only
    if b is None or c is None:
        raise ArtifactError(
            f"comparisons: expected the counts treatment_only and reference_only of {row.treatment} − {row.reference}, got none; "
            "run the study again with this version of rhat"
        )
    if rule.test in ("more", "less"):
        as_claimed = b >= c if rule.test == "more" else c >= b
        return row.mcnemar_p if as_claimed else 1.0
    tested = margin_tests(b, c, row.n, row.margin, row.design_effect or 1.0)
    return tested.equivalence_p if rule.test == "equivalent" else tested.above_p


def primary_claims(compared: Sequence[Comparison]) -> list[Claim]:
    """The primary claims whose comparisons this run made, each by the p of its own test, Holm-adjusted together."""
    by_names: Mapping[tuple[str, str, str], Comparison] = {row.names: row for row in compared}
    made = [(rule, by_names[rule.names]) for rule in PRIMARY if rule.names in by_names]
    p_values = [claim_p(rule, row) for rule, row in made]
    adjusted = holm(p_values).tolist() if made else []
    return [
        Claim.of(
            {
                "id": rule.id,
                "claim": rule.claim.format(margin=f"{100 * row.margin:g} points"),
                "treatment": row.treatment,
                "reference": row.reference,
                "prompts": row.prompts,
                "test": rule.test,
                "margin": row.margin,
                "p": p,
                "holm_p": holm_p,
                "verdict": claim_verdict(rule, row, holm_p),
            }
        )
        for (rule, row), p, holm_p in zip(made, p_values, adjusted, strict=True)
    ]


def claim_verdict(rule: Rule, row: Comparison, holm_p: float) -> Judgement:
    """The word that is claimed, if the claim's adjusted p shows it; else undecided."""
    claimed = WORDS[rule.test]
    if rule.test == "equivalent":
        return claimed if row.margin > 0 and holm_p < ALPHA else "undecided"
    return claimed if judge((row.ci_low, row.ci_high), holm_p=holm_p) == claimed else "undecided"
