"""Examples: a few harmless prompts with their answers and verdicts, as they come, not chosen."""

from __future__ import annotations

from rhat.artifacts.judges import Class
from rhat.artifacts.record import Record

CONDITIONS = ("baseline", "set_projection")
MANY = 5


class Example(Record):
    """The first harmless test prompts, with the answers under the baseline and with r̂ set. No other prompt's text is kept in this file."""

    prompt_id: str
    """id of the prompt"""
    prompt: str
    """the harmless prompt"""
    condition: str
    """id of the condition, a key of `conditions`"""
    answer: str
    """what was read of the answer"""
    verdict: Class
    """its class, by the default judge"""
