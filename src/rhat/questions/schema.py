"""JSON Schema and documentation of results.json, made from its records by pydantic."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue

from rhat.artifacts.record import Record


class Generator(GenerateJsonSchema):
    """JSON Schema of records: no titles, no defaults, and no null, which stands for "absent" in Python only."""

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        """The schema of what is there when something is."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        """Defaults are not written: what was not computed is absent."""
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Names of fields are titles enough."""
        return False


def schema_of(kind: type[Record], mode: JsonSchemaMode = "validation") -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a record."""
    made = kind.model_json_schema(schema_generator=Generator, mode=mode)
    for definition in made["$defs"].values():
        definition.pop("title", None)
    return (
        {"$schema": "https://json-schema.org/draft/2020-12/schema"} | made | {"title": "rhat results.json, version 3"}
    )


def tables_of(schema: dict[str, Any], name: str) -> list[str]:
    """The fields of a record (or, with name "", of the whole) as lines of a Markdown table."""
    definition = schema["$defs"][name] if name else schema
    required = set(definition.get("required", ()))
    lines = ["| field | type | unit | meaning |", "| --- | --- | --- | --- |"]
    for field, rule in definition["properties"].items():
        star = " *" if field in required else ""
        meaning = rule.get("description", "")
        if not meaning and "$ref" in rule:  # pydantic leaves out what the record says of itself
            meaning = schema["$defs"][rule["$ref"].rsplit("/", 1)[-1]]["description"]
        meaning = meaning.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| `{field}`{star} | {_type(rule)} | {_unit(rule)} | {meaning} |")
    return lines


def order_of(schema: dict[str, Any]) -> list[str]:
    """The records in the order in which the fields of the whole reach them."""
    found: list[str] = []

    def visit(rule: dict[str, Any]) -> None:
        for name in _references(rule):
            if name not in found:
                found.append(name)
                visit(schema["$defs"][name])

    for rule in schema["properties"].values():
        visit(rule)
    return found


def _references(rule: Any) -> list[str]:
    if isinstance(rule, dict):
        own = [rule["$ref"].rsplit("/", 1)[-1]] if "$ref" in rule else []
        return own + [name for value in rule.values() for name in _references(value)]
    return [name for value in rule for name in _references(value)] if isinstance(rule, list) else []


def _unit(rule: dict[str, Any]) -> str:
    return str(rule.get("unit") or rule.get("items", {}).get("unit") or "") if isinstance(rule, dict) else ""


def _type(rule: dict[str, Any]) -> str:
    """A field's type in words, with a link where it is a record."""
    if "$ref" in rule:
        name = rule["$ref"].rsplit("/", 1)[-1]
        return f"[`{name}`](#{name.lower()})"
    if "const" in rule:
        return json.dumps(rule["const"])
    if "enum" in rule:
        return " or ".join(f"`{value}`" for value in rule["enum"])
    if rule.get("type") == "array":
        if "prefixItems" in rule:
            return f"list of {len(rule['prefixItems'])} {_type(rule['prefixItems'][0])}s"
        return f"list of {_type(rule['items'])}"
    if rule.get("type") == "object":
        inner = rule.get("additionalProperties")
        return f"object of {_type(inner)}" if isinstance(inner, dict) and inner else "object"
    low, high = (round(rule[end], 3) + 0.0 if end in rule else None for end in ("minimum", "maximum"))
    span = f" {low:g} to {high:g}" if low is not None and high is not None else ""
    span = span or (f" ≥ {low:g}" if low is not None else "") or (f" ≤ {high:g}" if high is not None else "")
    return f"{rule.get('type', 'any')}{span.replace('-', '−')}"
