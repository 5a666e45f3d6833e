"""Verdict: How long must answers be read?"""

from __future__ import annotations

from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import count, difference
from rhat.questions.horizon.rows import HorizonChange, Rows
from rhat.questions.question import Verdict


def verdict(results: Results) -> Verdict | None:
    """Whether refusals come late, and whether openings turn."""
    rows = results.part(Rows).horizon_changes
    if not rows:
        return None
    late, turned, n = (sum(getattr(row, name) for row in rows) for name in ("late", "turned", "n"))
    first = rows[0]
    sentence = (
        f"Of {count(n, 'answer')}, {late} refuse only after the {first.tokens} tokens that are judged, and {turned} open as "
        f"refusals there and are none after {first.most}."
    )
    words = {row.verdict for row in rows}
    clear = words & {"better", "worse"}
    word = words.pop() if len(words) == 1 else clear.pop() if len(clear) == 1 else "mixed" if clear else "undecided"
    told = {
        "equivalent": "Reading on changes no rate of refusal by more than the margin.",
        "better": "Reading on finds more refusals; use more --judged-tokens where the rate itself is the result.",
        "worse": "Reading on finds fewer refusals; use more --judged-tokens where the rate itself is the result.",
        "mixed": "Reading on finds more refusals under some conditions and fewer under others; use more --judged-tokens.",
        "undecided": "Whether reading on changes a rate by more than the margin is undecided under some conditions.",
    }
    return Verdict(word, f"{sentence} {told[word]}", tuple(map(_reason, rows)))


def _reason(row: HorizonChange) -> str:
    return (
        f"{wording.condition(row.condition)}, {row.prompts} prompts: {row.late} late, {row.turned} turned "
        f"({difference(row)}, n = {row.n}); {wording.judgement(row)}."
    )
