"""Rows of results.json on token scopes."""

from __future__ import annotations

from rhat.artifacts.record import Divergence, Fraction, Measured, Share
from rhat.artifacts.rows import Part


class ScopeRow(Measured):
    """Setting under each token scope, on harmless prompts."""

    scope: str
    """all, prompt, generated, last_prompt_token, template, first_generated:N"""
    condition: str | None = None
    """id of the condition, for its row in `comparisons` against the scope all"""
    token_share: Share
    """share of all tokens that it edits"""
    sequence_p: Fraction | None = None
    """p of being non-inferior to all tokens, as is every scope that edits a larger share (fixed sequence)"""
    enough: bool | None = None
    """`sequence_p` < 5 %"""
    kl_mean: Divergence | None = None
    """mean KL(base ‖ edited) of the next token on harmless prompts"""


class Rows(Part):
    """Token scopes."""

    scopes: tuple[ScopeRow, ...] = ()
    """Setting under each token scope, on harmless prompts."""
