"""Decoding: greedy completions of many prompts at once, with or without interventions."""

from rhat.generation.engine import Completion, Engine, Request, generate, generate_tokens

__all__ = ["Completion", "Engine", "Request", "generate", "generate_tokens"]
