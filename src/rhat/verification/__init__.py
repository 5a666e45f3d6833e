"""Verification: every number of a study that follows from its per-prompt file, recomputed without a model or torch."""

from rhat.verification.verification import Verification, verify

__all__ = ["Verification", "verify"]
