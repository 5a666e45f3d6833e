"""Conversations: what a prompt may be, checked, and with a system message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from rhat.errors import PromptError
from rhat.model.template import ChatPrompt


def checked(prompt: ChatPrompt, number: int) -> ChatPrompt:
    """An instruction or a conversation as it is.

    Raises:
        PromptError: if it is neither, with its number.
    """
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, Sequence) or not prompt or not all(isinstance(m, Mapping) for m in prompt):
        raise PromptError(
            f"prompt {number}: got {type(prompt).__name__}, expected a string or a list of "
            '{"role": …, "content": …} messages'
        )
    messages = cast(Sequence[Mapping[str, str]], prompt)
    for message in messages:
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
            raise PromptError(
                f"prompt {number}: got a message with {sorted(message)}, expected a role and a text content"
            )
    if messages[-1]["role"] == "assistant":
        raise PromptError(f"prompt {number}: its last message is the assistant's; end with the turn to be answered")
    return prompt


def is_tokens(prompt: object) -> bool:
    """Whether a prompt is tokenised already."""
    return isinstance(prompt, Sequence) and not isinstance(prompt, str) and all(isinstance(t, int) for t in prompt)


def with_system(prompt: ChatPrompt, system: str) -> ChatPrompt:
    """A prompt as a conversation that begins with this system message, unless it has one of its own."""
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if messages and messages[0].get("role") in ("system", "developer"):
        return messages
    return [{"role": "system", "content": system}, *messages]
