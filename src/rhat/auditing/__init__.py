"""Auditing: what a vector from anywhere does to refusal, at doses of equal KL, beside r̂ and random directions."""

from rhat.auditing.cost import told_of_audit
from rhat.auditing.measure import audit
from rhat.auditing.rows import Audit
from rhat.auditing.settings import AuditSettings

__all__ = ["Audit", "AuditSettings", "audit", "told_of_audit"]
