"""JSON as it is found: rows of a list, of lines, of pandas' shapes, and of lists under names."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from rhat.errors import PromptError
from rhat.prompts.columns import is_prompt_column
from rhat.prompts.faults import Broken, one_line

_SPACE = re.compile(r"\s*")
Items = list[tuple[str, Any]]  # (where, value) of each row


def lines(text: str, name: str) -> Iterable[tuple[str, str]]:
    """(where, line) of each line that is not blank, stripped."""
    # Not str.splitlines: JSON strings may hold U+2028 and its like as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{name}:{number}", line.strip()


def parse_line(line: str) -> Any:
    """The value of one line of JSONL, or Broken."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return Broken(f"not JSON ({one_line(error)}); expected one JSON object or string a line")


def parse_jsonl(text: str, name: str) -> Items:
    """(where, value) of each line that is not blank; a line that is not JSON is Broken.

    A whole JSON value over several lines, as .json holds, is read as that.
    """
    parsed = [(where, parse_line(line)) for where, line in lines(text, name)]
    if parsed and isinstance(parsed[0][1], Broken):
        try:
            values = list(_one_after_another(text))
        except (ValueError, RecursionError):
            return parsed
        if len(values) == 1:
            return rows_of(values[0], name)
        return [(f"{name}: item {number}", value) for number, value in enumerate(values, start=1)]
    if len(parsed) == 1 and not isinstance(parsed[0][1], str | Broken):
        value = parsed[0][1]
        if isinstance(value, list) and not is_conversation(value) and not _are_columns(value):
            return rows_of(value, name)
    return with_header(parsed)


def _one_after_another(text: str) -> Iterable[Any]:
    """JSON values of any number of lines each, with white space between them."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        space = _SPACE.match(text, at)
        at = space.end() if space else at
        if at < len(text):
            value, at = decoder.raw_decode(text, at)
            yield value


def parse_json(text: str, name: str) -> Items:
    """(where, row) of a JSON file: a list, one of pandas' shapes, lists under names, or one value a line.

    Raises:
        PromptError: if it is not JSON, or holds no list of rows.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return parse_jsonl(text, name)
        raise PromptError(
            f"{name}:{error.lineno}: not JSON ({error.msg}); expected a list of strings or objects"
        ) from error
    except (ValueError, RecursionError) as error:
        raise PromptError(f"{name}: not JSON ({one_line(error)}); expected a list of strings or objects") from error
    return rows_of(value, name)


def rows_of(value: Any, name: str) -> Items:
    """(where, row) of the rows that a JSON value holds, whichever shape it has.

    Raises:
        PromptError: if it holds none.
    """
    if isinstance(value, dict):
        if set(value) == {"error"}:
            raise PromptError(f"{name}: this is an error of the hub ({one_line(value['error'])}), not prompts")
        rows = _of_object(value)
        if rows is None:
            held = f" with {one_line(', '.join(value))}" if value else ""
            raise PromptError(f"{name}: an object at the top{held}; expected a list of strings or objects")
        value = rows
    if not isinstance(value, list):
        raise PromptError(f"{name}: {kind(value)} at the top; expected a list of strings or objects")
    if is_conversation(value):  # one conversation, not a list of rows
        value = [{"messages": value}]
    items = [(f"{name}: item {number}", item) for number, item in enumerate(value, start=1)]
    return with_header(items)


def _of_object(value: Mapping[str, Any]) -> list[Any] | None:
    """Rows of an object, or None. The first four are what pandas calls split, table, index and columns."""
    data, names = value.get("data"), value.get("columns")
    if isinstance(data, list) and isinstance(names, list):
        return [dict(zip(names, row, strict=False)) for row in data]
    if isinstance(data, list) and "schema" in value:
        return data
    held = list(value.values())
    if held and all(isinstance(inner, dict) for inner in held):
        if any(is_prompt_column(name) for name in value):
            index = list(dict.fromkeys(key for inner in held for key in inner))
            return [{name: inner.get(key) for name, inner in value.items()} for key in index]
        return held
    if held and all(isinstance(inner, list) for inner in held):
        if any(is_prompt_column(name) for name in value) and len({len(inner) for inner in held}) == 1:
            if len(value) > 1 or not is_conversation(held[0]):
                return [dict(zip(value, row, strict=True)) for row in zip(*held, strict=True)]
            return [dict(value)]
        if len(value) > 1 and all(isinstance(text, str) for inner in held for text in inner):
            return [{"prompt": text, "label": name} for name, inner in value.items() for text in inner]
    if any(is_prompt_column(name) for name in value):
        return [dict(value)]
    lists = [inner for inner in held if isinstance(inner, list) and inner and isinstance(inner[0], dict | str)]
    if "rows" in value and isinstance(value["rows"], list):  # as the hub's viewer gives them
        lists = [[row["row"] if isinstance(row, dict) and isinstance(row.get("row"), dict) else row
                  for row in value["rows"]]]  # fmt: skip
    return lists[0] if len(lists) == 1 else None


def with_header(items: Items) -> Items:
    """Arrays as objects, if the first one names the columns; arrays of one string as that string."""
    arrays = [value for _, value in items if isinstance(value, list) and not is_conversation(value)]
    if not arrays or len(arrays) < len(items):
        return items
    if _are_columns(arrays[0]):
        return [(where, _under(arrays[0], value)) for where, value in items[1:]]
    return [(where, value[0] if len(value) == 1 else Broken(_NAMELESS)) for where, value in items]


_NAMELESS = "a list of values without names; make the first list the names of the columns, or write objects"


def _are_columns(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(name, str) for name in value)
        and any(is_prompt_column(name) for name in value)
    )


def _under(names: list[str], values: list[Any]) -> Any:
    if len(names) != len(values):
        return Broken(f"{len(values)} values, the first list names {len(names)} columns")
    return dict(zip(names, values, strict=True))


def is_conversation(value: Any) -> bool:
    """Whether this is a list of messages, with `role` and `content` or ShareGPT's `from` and `value`."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(m, dict) and ("role" in m or "from" in m) and ("content" in m or "value" in m) for m in value
        )
    )


def kind(value: Any) -> str:
    """A JSON value's kind in words."""
    names = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")
