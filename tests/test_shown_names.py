"""Names and calls of the library in the prose of pages: each is there, and takes the arguments that are shown. Programs are run by test_shown_python.py."""

import ast
import importlib
import inspect
import re
from typing import Any

import pytest

import rhat
from test_shown_python import PAGES, ROOT

FIELDS = {"rhat.tokens"}  # of a server's answer


def resolved(node: ast.AST) -> Any:
    """What `rhat.a.b` names; None for other expressions.

    Raises:
        ImportError: if there is no such name.
    """
    path: list[str] = []
    while isinstance(node, ast.Attribute):
        path, node = [node.attr, *path], node.value
    if not (isinstance(node, ast.Name) and node.id == "rhat"):
        return None
    found: Any = rhat
    for i, name in enumerate(path, start=1):
        found = getattr(found, name) if hasattr(found, name) else importlib.import_module(".".join(["rhat", *path[:i]]))
    return found


def check_said(code: str) -> None:
    """Every name of rhat in an expression is there, and each of its calls fits the signature; … is any value, or any number of positional ones.

    Raises:
        ImportError: if there is no such name.
        TypeError: if the arguments do not fit.
    """
    for node in ast.walk(ast.parse(code.replace("…", "..."))):
        resolved(node)
        if isinstance(node, ast.Call) and (function := resolved(node.func)):
            given = [one for one in node.args if ast.unparse(one) != "..."]
            signature = inspect.signature(function)
            bind = signature.bind if len(given) == len(node.args) else signature.bind_partial
            bind(*given, **{k.arg: k.value for k in node.keywords})


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_what_the_prose_names_is_there(page):
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    for code in {" ".join(span.split()) for span in re.findall(r"`(rhat\.[^`]+)`", prose)} - FIELDS:
        check_said(code)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("rhat.guard.alarms", ImportError),
        ("rhat.guard.Alarm().see(1)", TypeError),
        ("rhat.load(rhat.sits)", ImportError),
        ("rhat.add(r, coeficient=…)", TypeError),
    ],
)
def test_prose_that_names_what_is_not_there_is_told(code, error):
    with pytest.raises(error):
        check_said(code)
