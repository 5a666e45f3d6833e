"""Capture: activations of prompts at sites and positions, as float64 moments or, for a few sites, as arrays."""

from rhat.capture.arrays import activations, logits, projections
from rhat.capture.moments import Moments
from rhat.capture.reading import capture, capture_all_tokens, captured

__all__ = ["Moments", "activations", "capture", "capture_all_tokens", "captured", "logits", "projections"]
