"""Verdict: How much of the sequence is needed?"""

from __future__ import annotations

from collections.abc import Sequence

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
    lead = ""
    if everything:
        lead = f"Setting every token, {wording.outcome(everything, f'the first {everything.n} harmless test')}. "
    compared = [
        (row, beside)
        for row in from_the_largest(rows)
        if row.scope != "all" and (beside := _scope_comparison(results, row))
    ]
    judged = [(row, beside, bool(row.enough), beside.verdict == "worse") for row, beside in compared]
    if not judged:
        return Verdict("measured", f"{lead}No subset was compared with all tokens.")
    reasons = tuple(
        f"{wording.scope(row.scope).capitalize()} ({percent(row.token_share)} of tokens): "
        f"{'non-inferior' if enough else 'falls short' if worse else 'not shown'} "
        f"({difference(beside)}, n = {beside.n})."
        for row, beside, enough, worse in judged
    )
    sufficient = [(row, beside) for row, beside, enough, _ in judged if enough]
    if sufficient:
        row, beside = sufficient[-1]
        name, part = wording.scope(row.scope), percent(row.token_share)
        text = (
            f"The smallest part shown to refuse as often, less at most {wording.margin_points(beside.margin)}, is {name}: {part} of "
            "tokens. Parts were tested from the largest down, up to the first that falls short or is not shown."
        )
        return Verdict("equivalent", lead + text, reasons)
    if all(worse for *_, worse in judged):
        return Verdict("worse", f"{lead}No smaller part of the sequence does as well.", reasons)
    open_ones = [beside for _, beside, _, worse in judged if not worse]
    most = max(needed(results, beside) or 0 for beside in open_ones)
    more = f": it would need about {count(most, 'prompt')}" if most else ""
    text = f"Whether a part does as well is undecided{more}."
    return Verdict("undecided", lead + text, reasons)


def from_the_largest(rows: Sequence[ScopeRow]) -> list[ScopeRow]:
    """Scopes by the share of tokens that they edit, the largest first: an order that no answer has a say in."""
    return sorted(rows, key=lambda row: -row.token_share)


def _scope_comparison(results: Results, row: ScopeRow) -> Comparison | None:
    return results.comparison(row.condition or f"scope:{row.scope}", "set_projection", "harmless", required=True)
