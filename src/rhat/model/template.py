"""Chat templates: how an instruction becomes tokens, and which tokens are the template's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rhat.errors import TemplateError
from rhat.model.markup import Markup, begun, raw

ChatPrompt = str | Sequence[Mapping[str, str]]
"""An instruction, or the messages of a conversation: {"role": …, "content": …}."""

# Instructions that share neither their first nor their last token under any usual tokeniser.
_PROBES = ("Name a river in Peru", "why is 7 odd?", "(Sing, please.)", "X")


@dataclass(frozen=True, eq=False)
class Template:
    """A tokenizer's chat template as rhat uses it.

    length           number of template tokens after the instruction, found by comparing rendered prompts, those of the
                     response prefix included; positions −length … −1
    system           a system prompt given by the user; None leaves the template's own default
    response_prefix  text put after the template, with which every answer is made to begin (such as an empty think block)
    thinking         whether the model may think before its answer, where the template knows the switch
    """

    tokenizer: Any
    system: str | None
    length: int
    response_prefix: str = ""
    thinking: bool = False

    def render(self, prompt: ChatPrompt) -> tuple[int, ...]:
        """Token ids of an instruction, or of a conversation, up to where the model begins to answer.

        A conversation that begins with a system message of its own keeps that one.

        Raises:
            TemplateError: if the template rejects these messages.
        """
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(m) for m in prompt]
        own = bool(messages) and messages[0].get("role") in ("system", "developer")
        return render(self.tokenizer, messages, None if own else self.system, self.response_prefix, self.thinking)

    @cached_property
    def tail(self) -> str:
        """The raw text of the template's tokens after an instruction, response prefix included."""
        return raw(self.tokenizer, self.render(_PROBES[0])[-self.length :])

    @cached_property
    def begun(self) -> Markup | None:
        """The think block that prompts leave open, so that answers begin inside it."""
        return begun(self.tail)


def render(
    tokenizer: Any,
    messages: Sequence[dict[str, str]],
    system: str | None = None,
    response_prefix: str = "",
    thinking: bool = False,
) -> tuple[int, ...]:
    """Token ids of a conversation up to where the model begins to answer, after `response_prefix` if there is one.

    Without `thinking` it is switched off where the template knows the switch: the answer then starts after an empty think block.
    Template and prefix are tokenised as one text, so that a line break of each may become one token, as in training.

    Raises:
        TemplateError: if the template rejects these messages.
    """
    if system is not None:
        messages = [{"role": "system", "content": system}, *messages]
    try:
        ids = tokenizer.apply_chat_template(
            list(messages),
            tokenize=not response_prefix,
            add_generation_prompt=True,
            return_dict=False,
            enable_thinking=thinking,
        )
        if response_prefix:
            ids = tokenizer(ids + response_prefix, add_special_tokens=False)["input_ids"]
    except Exception as error:
        if system is not None:
            raise TemplateError(
                f"the chat template cannot take a system prompt ({error}); leave the system prompt out"
            ) from error
        raise TemplateError(
            f"the chat template failed: {error}; give a working one with --chat-template FILE"
        ) from error
    return tuple(ids)


def make_template(
    tokenizer: Any,
    name: str,
    chat_template: str | Path | None = None,
    system: str | None = None,
    response_prefix: str = "",
    thinking: bool = False,
) -> Template:
    """The template of a tokenizer, or the one in the file `chat_template`; prompts end with `response_prefix`.

    Raises:
        TemplateError: if there is none, the file cannot be read, or no template token follows the instruction.
    """
    if chat_template is not None:
        path = Path(chat_template)
        try:
            tokenizer.chat_template = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise TemplateError(f"{path}: cannot read the chat template ({reason}); give a Jinja file") from error
    if not getattr(tokenizer, "chat_template", None):
        raise TemplateError(
            f"{name}: this model has no chat template, so it is probably a base model, not a chat model; "
            "if you know its format, give a Jinja template with --chat-template FILE (chat_template= in Python)"
        )
    rendered = [
        render(tokenizer, [{"role": "user", "content": probe}], system, response_prefix, thinking) for probe in _PROBES
    ]
    length = 0
    shortest = min(len(r) for r in rendered)
    while length < shortest and len({r[-1 - length] for r in rendered}) == 1:
        length += 1
    if length == 0:
        raise TemplateError(
            f"{name}: its chat template puts no token between the instruction and the answer; "
            "r̂ is read there: give a template that does with --chat-template FILE"
        )
    if length == shortest:
        raise TemplateError(
            f"{name}: its chat template leaves the instruction out; give another with --chat-template FILE"
        )
    return Template(tokenizer, system, length, response_prefix, thinking)
