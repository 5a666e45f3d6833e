"""Verdict: How few heads?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import count, difference, number
from rhat.questions.heads.rows import Heads, Rows
from rhat.questions.question import Verdict

REFERENCES = {"baseline": "no patch", "random": "random heads of the same layers"}
SEARCHED = "Only heads below r̂'s layer were searched, at the last prompt token."


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
    generated = [row for row in found.comparisons if row.unit == "share"]
    shown = _generated_heads(found)
    if not generated:
        if not shown:
            return Verdict("measured", reasons[0] if reasons else "No heads were ranked.", tuple(reasons[1:]))
        text = "This run compared numbers of heads by first-token log-odds only, so the smallest that raises refusals is not known."
        return Verdict("undecided", f"{text} {shown}", tuple(reasons))
    tried = sorted({row.k for row in generated})
    k = found.smallest_k
    if k is None:
        largest = [row for row in generated if row.k == tried[-1]]
        numbers = "; ".join(f"against {REFERENCES[row.reference]} {difference(row)}" for row in largest)
        text = f"No number of heads tried refuses more than both no patch and random heads (at {tried[-1]}: {numbers})."
        return Verdict("undecided", f"{text} {shown} {SEARCHED}", tuple(reasons))
    against = [row for row in generated if row.k == k]
    numbers = "; ".join(f"against {REFERENCES[row.reference]} {difference(row)}, n = {row.n}" for row in against)
    smallest = f"{count(k, 'head')} at one token {'is' if k == 1 else 'are'} the fewest tried that raise refusal of harmless prompts"
    order = f"tried from the most down: {', '.join(map(str, reversed(tried)))}"
    return Verdict("better", f"{smallest} ({order}): {numbers}. {shown} {SEARCHED}", tuple(reasons))


def _generated_heads(found: Heads) -> str:
    """Refusal rates of harmless prompts by the number of heads patched, and with as many random ones, where they were generated."""
    rows = [row for row in found.curve if row.rate is not None]
    names = {"attributed": "{}", "random": "{} (random)", "greedy": "{} (chosen greedily)"}
    parts = [
        f"{names[row.kind].format(count(row.k, 'head'))} {wording.rate(row)}" for row in sorted(rows, key=lambda r: r.k)
    ]
    return f"Refused, of {rows[0].n} harmless prompts: {', '.join(parts)}." if parts else ""
