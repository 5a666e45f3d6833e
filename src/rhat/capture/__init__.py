"""Capture: activations of prompts at sites and positions, streamed into float64 moments or kept for a few sites."""

from rhat.capture.arrays import activations, logits
from rhat.capture.moments import Moments
from rhat.capture.reading import capture, capture_all_tokens, captured

__all__ = ["Moments", "activations", "capture", "capture_all_tokens", "captured", "logits"]
