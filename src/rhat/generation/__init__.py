"""Decoding: completions of many prompts in one batch, each with its own interventions and sampling."""

from rhat.generation.choosing import greedy, sample_per_request
from rhat.generation.completions import generate, generate_tokens
from rhat.generation.engine import Engine
from rhat.generation.reading import prompt_logprobs
from rhat.generation.rows import Probe, Request, Row, TokenLogprob
from rhat.generation.text import Text
from rhat.model.completion import Completion, FinishReason
from rhat.model.sampling import Sampling

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
    "generate",
    "generate_tokens",
    "greedy",
    "prompt_logprobs",
    "sample_per_request",
]
