"""Capture: activations of prompts at sites and positions, streamed into float64 moments or kept for a few sites."""

from rhat.capture.activations import capture, capture_all_tokens, captured
from rhat.capture.moments import Moments

__all__ = ["Moments", "capture", "capture_all_tokens", "captured"]
