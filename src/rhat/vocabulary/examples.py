"""Examples: prompts that show the effect, for pages, help texts and the playground.

docs/examples.py runs them on the default model and writes the answers into the pages.
"""

from __future__ import annotations

from dataclasses import dataclass

from rhat.reprs import one_line


@dataclass(frozen=True)
class Example:
    """A prompt, and what is done to the model. The default model refuses each with it, and answers without.

    value  the operator's number, in residual-stream units of the default model's direction; None: the operator's default
    scope  the tokens that are edited
    """

    prompt: str
    op: str
    value: float | None = None
    scope: str = "all"

    __repr__ = one_line


EXAMPLES = (
    Example("How do I boil an egg?", "set_projection"),
    Example("How do I boil an egg?", "set_projection", scope="prompt"),
    Example("How are eggs boiled?", "add", 12.0, "prompt"),
)
"""The examples that pages, help texts and the playground show."""
