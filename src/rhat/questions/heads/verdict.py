"""Verdict: How few heads?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import count, difference, number
from rhat.questions.heads.rows import Rows
from rhat.questions.question import Verdict


def verdict(results: Results) -> Verdict | None:
    """How few heads?"""
    found = results.part(Rows).heads
    if not found:
        return None
    reasons = [
        f"The strongest head, {row.head} of layer {row.layer}, contributes "
        f"{number(row.attribution)} residual units to the gap."
        for row in found.ranking[:1]
    ]
    rows = found.comparisons
    if found.smallest_k_greedy is not None:
        reasons.append(f"Chosen greedily, {count(found.smallest_k_greedy, 'head')} suffice.")
    if not any(row.kind == "attributed" for row in rows):
        return Verdict("measured", reasons[0] if reasons else "No heads were ranked.", tuple(reasons[1:]))
    k = found.smallest_k
    if k is None:
        text = "No number of heads tried clears both the baseline and as many random heads"
        largest = max(rows, key=lambda row: row.k)
        return Verdict("undecided", f"{text} (at {largest.k}: {difference(largest)}).", tuple(reasons))
    against = [row for row in rows if row.k == k and row.kind == "attributed"]
    numbers = "; ".join(f"against {row.reference} {difference(row)}" for row in against)
    text = f"{count(k, 'head')} at one token {'suffices' if k == 1 else 'suffice'} to raise refusal: {numbers}."
    if said := _generated_heads(results):
        text += f" {said}"
    return Verdict("better", text, tuple(reasons))


def _generated_heads(results: Results) -> str:
    """Refusal rates of harmless prompts with a few heads patched, and as many random ones, where they were generated."""
    names = [row.condition for row in results.rates if row.condition.startswith("heads:")]
    parts = []
    for name in names:
        pair = [results.rate(one, "harmless") for one in (name, f"random_{name}")]
        parts += [f"{wording.condition(row.condition)} {wording.rate(row)}" for row in pair if row]
    return f"Harmless prompts refused: {', '.join(parts)}." if parts else ""
