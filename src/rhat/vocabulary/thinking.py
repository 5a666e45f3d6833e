"""The three ways of thinking before an answer."""

from __future__ import annotations

from typing import Literal, get_args

ThinkingMode = Literal["off", "on", "skip"]
"""off: the template's switch is off; on: it is on; skip: prompts end with an empty think block, for a model that has no switch."""

THINKING_MODES: tuple[ThinkingMode, ...] = get_args(ThinkingMode)
"""The modes, by name."""

THINKING_TOKENS = 512
"""Tokens that a think block may have."""
