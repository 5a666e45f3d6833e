"""Imports: no circle, lazy and type-checking ones counted, and inside functions only what is heavy or optional."""

import ast
import sys
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


def test_no_two_modules_import_each_other():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]
    assert circles(graph()) == []


# What is slow to import, or comes with an extra, may wait until it is needed.
HEAVY = {
    "IPython", "PIL", "accelerate", "datasets", "fastapi", "gguf", "gradio", "huggingface_hub", "jinja2", "markupsafe", "matplotlib",
    "numpy", "pandas", "peft", "plotly", "psutil", "pyarrow", "pydantic", "ray", "rich", "safetensors", "scipy", "starlette",
    "statsmodels", "torch", "torchao", "transformers",
}  # fmt: skip
# rhat's own modules that are imported when they are needed, by file or folder, and why.
OWN = {
    "__init__.py": "`import rhat` is cheap: a package is imported when its name is used",
    "cli/": "`rhat --help` takes less than 0.3 s: a command imports what it needs when it runs",
    "distributed/actor.py": "the actor's class travels to a worker, which imports rhat there",
    "report/__init__.py": "`import rhat.report` is cheap: drawing imports plotly and matplotlib",
    "results.py": "reading results does not wait for the records of every question",
    "scoring/judges/__init__.py": "a judge is imported when it is chosen",
    "selection/__init__.py": "the choice among candidates needs no torch, finding does",
    "server/app.py": "the playground needs gradio, which is optional",
}


def lazy() -> Iterator[tuple[str, str]]:
    """File and imported module of every import inside a function, but those of the standard library."""
    known = modules()
    for path in known.values():
        tree = ast.parse(path.read_text("utf-8"))
        inside = {
            node
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(function)
        }
        for node in inside:
            for name in imported(node, known):
                if name.partition(".")[0] not in sys.stdlib_module_names:
                    yield path.relative_to(SOURCE).as_posix(), name


def test_imports_inside_functions_are_of_heavy_or_optional_packages():
    strange = {
        (file, name)
        for file, name in lazy()
        if name.partition(".")[0] not in HEAVY
        and not (
            name.partition(".")[0] == "rhat" and any(file == o or (o[-1] == "/" and file.startswith(o)) for o in OWN)
        )
    }
    assert strange == set()
