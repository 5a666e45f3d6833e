"""Decoding: completions of many prompts in one batch, each with its own interventions and sampling."""

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
