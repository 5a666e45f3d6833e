"""What one cell holds: a text, or a conversation of which the request is read."""

import ast
import json
from dataclasses import dataclass
from typing import Any

from rhat.prompts.columns import blank
from rhat.prompts.faults import Fault
from rhat.prompts.shapes import is_conversation, kind

ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt", "bard", "bing"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "observation", "function_call"), "tool"),
}
CONVERSATIONS = ("messages", "turns", "conversations", "conversation")  # columns whose strings may be lists in writing


@dataclass(frozen=True)
class Request:
    """What is asked in a cell.

    text      the user's words
    messages  (role, content) of the whole conversation, if the cell holds one
    answered  whether an answer follows, which is not read
    later     user turns after the first, which are not read
    before    messages before the first user turn, which are not read either
    """

    text: str
    messages: tuple[tuple[str, str], ...] = ()
    answered: bool = False
    later: int = 0
    before: int = 0


def read_cell(value: Any, column: str, first: bool = False) -> Request:
    """The request in a cell of `column`; nothing counts as the empty text.

    A conversation is read if it is one user turn, with or without its answer. One with a system message or more turns
    is rejected, unless `first` asks for its first user turn alone. In a list of strings (`turns`) the first is the
    request and the others are later turns.

    Raises:
        Fault: if it holds anything else.
    """
    if isinstance(value, str) and column.casefold() in CONVERSATIONS and value.lstrip().startswith("["):
        value = _written_list(value, column)
    if blank(value):
        return Request("")
    if isinstance(value, str):
        return Request(value)
    if not isinstance(value, list):
        raise Fault(f"{column!r} holds {kind(value)}; expected a string or a list of messages")
    if (first or column.casefold() == "turns") and all(isinstance(turn, str) for turn in value):
        return Request(value[0], tuple(("user", turn) for turn in value), later=sum(not blank(t) for t in value[1:]))
    if not is_conversation(value):
        raise Fault(f"{column!r} holds no user message; expected a list of {{role, content}} with role user")
    messages = tuple(_message(message, column) for message in value)
    talk = tuple((role, content) for role, content in messages if content.strip())
    roles = [role for role, _ in talk]
    if "user" not in roles:
        raise Fault(f"{column!r} holds no user message; expected a list of {{role, content}} with role user")
    text = next(content for role, content in talk if role == "user")
    if not first:
        _one_turn(roles, column)
    return Request(text, talk, answered="assistant" in roles, later=roles.count("user") - 1, before=roles.index("user"))


def _one_turn(roles: list[str], column: str) -> None:
    way_out = f"read the first user turn alone with --column '{column}[0]', or remove the row"
    if "system" in roles:
        raise Fault(f"{column!r} holds a system message, which belongs to the request and is not read; {way_out}")
    if roles[0] != "user":
        raise Fault(f"{column!r} begins with the {roles[0]}, so the request is not the whole of it; {way_out}")
    if roles not in (["user"], ["user", "assistant"]):
        raise Fault(f"{column!r} holds later turns, and the request is the last of them; {way_out}")


def _message(message: dict[str, Any], column: str) -> tuple[str, str]:
    said = message.get("role", message.get("from"))
    role = ROLES.get(str(said).casefold())
    if role is None:
        raise Fault(f"{column!r} holds a message of {said!r}; expected user, assistant or system")
    return role, _content(message.get("content", message.get("value")), column)


def _content(content: Any, column: str) -> str:
    """The string itself, or the text parts of a list, joined by line ends; a picture or file is rejected."""
    if blank(content):
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Fault(f"{column!r} holds a message with {kind(content)}; expected a string")
    texts = []
    for part in content:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str):
            named = part.get("type", "unknown") if isinstance(part, dict) else kind(part)
            raise Fault(f"{column!r} holds a part of type {named}, and only text can be read; remove the row")
        texts.append(text)
    return "\n".join(texts)


def _written_list(text: str, column: str) -> Any:
    """The list that a table holds in writing, as JSON or as Python prints it; a text that is none stays as it is."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        value = None
    # NumPy prints lists without commas, which Python would read as one string.
    if isinstance(value, list) and repr(value) == text.strip():
        return value
    raise Fault(f"{column!r} holds a list in writing that cannot be read; write the column as JSON, or use Parquet")
