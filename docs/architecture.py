"""Write the picture of the layers in docs/architecture.md from the import contracts in pyproject.toml.

.venv/bin/python docs/architecture.py

The sentence about each package is the first line of its docstring.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).parent / "architecture.md"
BEGIN, END = "<!-- layers: docs/architecture.py -->", "<!-- end of layers -->"
WIDTH = 50


def contracts() -> list[dict]:
    """The contracts of import-linter."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]


def layers() -> list[list[str]]:
    """Names of packages without `rhat.`, from the highest layer to the lowest; those in one layer ignore each other."""
    (contract,) = [one for one in contracts() if one["type"] == "layers"]
    return [[name.strip().removeprefix("rhat.") for name in layer.split("|")] for layer in contract["layers"]]


def sentence(package: str) -> str:
    """The first line of the package's docstring, read without importing it."""
    path = ROOT / "src" / "rhat" / package
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    said = ast.get_docstring(ast.parse(source.read_text("utf-8")))
    assert said, f"{source}: expected a docstring whose first line says what the package holds"
    return said.splitlines()[0].replace("|", "\\|")


def picture() -> str:
    """One box per layer, the highest on top."""
    boxes = [f"│{'   '.join(layer).center(WIDTH)}│" for layer in layers()]
    return "\n".join([f"┌{'─' * WIDTH}┐", f"\n├{'─' * WIDTH}┤\n".join(boxes), f"└{'─' * WIDTH}┘"])


def forbidden() -> list[str]:
    """The contracts that keep heavy packages out, one line each."""
    lines = []
    for one in contracts():
        if one["type"] == "forbidden":
            importers = ", ".join(f"`{name.removeprefix('rhat.')}`" for name in one["source_modules"])
            heavy = " or ".join(f"`{name}`" for name in one["forbidden_modules"])
            lines.append(f"- {importers}: no import of {heavy}, direct or indirect")
    return lines


def block() -> str:
    """The picture, a sentence per package, and the other contracts."""
    rows = [f"| `{package}` | {sentence(package)} |" for layer in layers() for package in layer]
    table = ["| package | contents |", "| --- | --- |", *rows]
    return "\n".join(["```text", picture(), "```", "", *table, "", *forbidden()])


def written(page: str) -> str:
    """The page with the block between its marks replaced."""
    page, n = re.subn(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{block()}\n{END}", page, flags=re.DOTALL)
    assert n == 1, f"{PAGE}: expected one {BEGIN} … {END}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
