"""Selection rules: how one candidate is chosen among all layers and positions, in words.

A new rule is one function, in a file of `rhat.selection.rules`, and one record in `_RECORDS`. The library, `rhat find`, reports and
docs/finding.md are made from these records.
"""

from __future__ import annotations

from dataclasses import dataclass

from rhat.reprs import one_line


@dataclass(frozen=True)
class RuleKind:
    """A selection rule, with the words that describe it. All candidates are of layers before the last fifth, and not zero.

    name     the function's name, and what users write
    module   the file of `rhat.selection.rules` that holds it
    label    in sentences: "the published rules"
    formula  what is chosen; c is a candidate, and all prompts are validation prompts
    reads    what it goes by
    source   who published it, and where it is written
    """

    name: str
    module: str
    label: str
    formula: str
    reads: str
    source: str

    __repr__ = one_line


_RECORDS = (
    RuleKind(
        "published",
        "published",
        "the published rules",
        "lowest refusal score of harmful prompts with c ablated, among those with induce score > 0 and KL ≤ 0.1; where none is left, "
        "the relaxed rule",
        "log-odds of the refusal tokens; next-token KL",
        "Arditi et al. 2024 (arXiv 2406.11717), appendix C",
    ),
    RuleKind(
        "relaxed",
        "published",
        "the relaxed rule",
        "the same, but adding c need only raise the refusal score of harmless prompts: the low end of its paired 95 % interval is above 0",
        "log-odds of the refusal tokens; next-token KL",
        "rhat, for models on which the published rules leave nothing",
    ),
    RuleKind(
        "cosmic",
        "cosmic",
        "COSMIC",
        "largest cos(harmful with c ablated, harmless) + cos(harmless with c added, harmful) of mean activations at the last token, joined "
        "over the tenth of layers where the two means are least alike, among those with KL ≤ 0.1",
        "activations; next-token KL",
        "Siu et al. 2025 (arXiv 2506.00085)",
    ),
    RuleKind(
        "generation",
        "generation",
        "judged generation",
        "largest mean of two shares: harmless prompts refused with c added, and harmful prompts complied with while c is ablated; of the 8 "
        "candidates that the published rules put first, KL aside",
        "answers, judged",
        "rhat: the effects that are claimed, measured",
    ),
    RuleKind(
        "first_auroc",
        "ranking",
        "the first layer that separates as well as any",
        "lowest layer with a c whose AUROC of c·x, harmful against harmless, is within the 95 % interval of the largest; there, the largest",
        "activations",
        "rhat: where the labels can first be read",
    ),
)

RULE_KINDS: dict[str, RuleKind] = {kind.name: kind for kind in _RECORDS}
"""The selection rules by name, in words."""
