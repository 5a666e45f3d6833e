"""Verification: every number of a study that its per-prompt file holds the ground of, computed again without a model or torch."""

from rhat.verification.verification import Verification, verify

__all__ = ["Verification", "verify"]
