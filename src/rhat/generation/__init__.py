"""Decoding: completions of many prompts at once, each with interventions and sampling of its own."""

from rhat.generation.engine import Engine, as_requested, generate, generate_tokens, greedy
from rhat.generation.rows import Completion, FinishReason, Probe, Request, Row, TokenLogprob
from rhat.generation.sampling import Sampling
from rhat.generation.text import Text

__all__ = [
    "Completion",
    "Engine",
    "FinishReason",
    "Probe",
    "Request",
    "Row",
    "Sampling",
    "Text",
    "TokenLogprob",
    "as_requested",
    "generate",
    "generate_tokens",
    "greedy",
]
