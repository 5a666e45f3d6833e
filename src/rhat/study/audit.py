"""The audit: answers run past the verdict, to hold the phrases against."""

from __future__ import annotations

from rhat.artifacts.rows import Part
from rhat.interventions import set_projection
from rhat.lab import Lab

AUDITED = 16  # harmless prompts whose answers are generated past the verdict
AUDIT_TOKENS = 48


def audit(lab: Lab) -> Part:
    """A fixed sample of answers to harmless prompts run past the verdict, kept for auditing the phrase scorer.

    They are in completions.jsonl under `audit:…`: an answer that refuses and then complies shows there.
    """
    d = lab.direction
    for name, treatment in (("baseline", None), ("set_projection", set_projection(d))):
        lab.measure(f"audit:{name}", treatment, "harmless", AUDITED, max_new_tokens=AUDIT_TOKENS)
    return Part()
