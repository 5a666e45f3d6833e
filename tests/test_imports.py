"""Imports: no circle, lazy and type-checking ones counted, and inside functions only what is heavy or optional."""

import ast
from collections.abc import Iterator
from pathlib import Path

import rhat

SOURCE = Path(rhat.__file__).parent


def modules() -> dict[str, Path]:
    """Every module of rhat by its dotted name; a package is its __init__."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(node: ast.AST, known: dict[str, Path]) -> Iterator[str]:
    """The modules that an import statement reads: `from rhat import model` is rhat.model."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            yield whole if whole in known else node.module


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules each of which reaches all the others."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        left = [start]
        while left:
            for after in graph[left.pop()] - seen:
                seen.add(after)
                left.append(after)
        reach[start] = seen
    found = {frozenset(b for b in reach[a] if a in reach[b]) for a in graph if a in reach[a]}
    return sorted(map(set, found), key=sorted)


def graph() -> dict[str, set[str]]:
    known = modules()
    return {
        name: {
            other
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            for other in imported(node, known)
            if other in known and other != name
        }
        for name, path in known.items()
    }


# The model's passes and its answers still know each other: ChatModel is both below and above them.
KNOWN = ("rhat.generation", "rhat.model")


def test_no_two_modules_import_each_other():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]
    found = [c for c in circles(graph()) if not all(name.startswith(KNOWN) for name in c)]
    assert found == []
