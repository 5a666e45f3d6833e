"""Verdict: How much of the sequence is needed?"""

from __future__ import annotations

from rhat.artifacts.rows import Comparison
from rhat.artifacts.run import Results
from rhat.display import wording
from rhat.display.wording import count, difference, percent
from rhat.questions.question import Verdict
from rhat.questions.scopes.rows import Rows, ScopeRow
from rhat.questions.sentences import needed


def verdict(results: Results) -> Verdict | None:
    """How much of the sequence is needed?"""
    rows = results.part(Rows).scopes
    if not rows:
        return None
    everything = next((row for row in rows if row.scope == "all"), None)
    lead = f"Setting every token refuses {wording.measure(everything)}. " if everything else ""
    judged = []
    for row in sorted(rows, key=lambda row: row.token_share):
        if row.scope != "all" and (beside := _scope_comparison(results, row)):
            judged.append((row, beside, beside.noninferior, beside.verdict == "worse"))
    if not judged:
        return Verdict("measured", f"{lead}No subset was compared with all tokens.")
    reasons = tuple(
        f"{wording.scope(row.scope).capitalize()} ({percent(row.token_share)} of tokens): "
        f"{'non-inferior' if enough else 'falls short' if worse else 'undecided'} "
        f"({difference(beside)}, n = {beside.n})."
        for row, beside, enough, worse in judged
    )
    sufficient = [row for row, _, enough, _ in judged if enough]
    if sufficient:
        row = sufficient[0]
        name, part = wording.scope(row.scope), percent(row.token_share)
        text = f"The smallest part that does as well is {name}: {part} of tokens."
        return Verdict("equivalent", lead + text, reasons)
    if all(worse for *_, worse in judged):
        return Verdict("worse", f"{lead}No smaller part of the sequence does as well.", reasons)
    open_ones = [beside for _, beside, _, worse in judged if not worse]
    most = max(needed(results, beside) or 0 for beside in open_ones)
    more = f": it would need about {count(most, 'prompt')}" if most else ""
    text = f"Whether a part does as well is undecided{more}."
    return Verdict("undecided", lead + text, reasons)


def _scope_comparison(results: Results, row: ScopeRow) -> Comparison | None:
    return results.comparison(row.condition or f"scope:{row.scope}", "set_projection", "harmless", required=True)
