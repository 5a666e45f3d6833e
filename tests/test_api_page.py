"""docs/api.md says what is exported, all of it is described, and the documentation imports nothing else."""

import ast
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import rhat

ROOT = Path(__file__).parents[1]
PAGES = sorted({*(ROOT / "docs").glob("*.md"), ROOT / "README.md"} - {ROOT / "docs" / "api.md"})


@pytest.fixture(scope="module")
def api():
    spec = importlib.util.spec_from_file_location("api", ROOT / "docs" / "api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_source_says(api):
    assert api.PAGE.read_text("utf-8") == api.page(), "run python docs/api.py"


def test_every_exported_name_is_described(api):
    bare = [
        f"{title}.{name}"
        for title, module in api.modules()
        for name in api.exported(module)
        if not api.doc_of(module, name)
    ]
    assert not bare


def test_a_class_without_words_of_its_own_is_not_described_by_its_base(api):
    class Bare(dict):
        pass

    module = ModuleType("made")
    module.Bare = Bare
    assert inspect.getdoc(Bare)
    assert not api.doc_of(module, "Bare")


def test_every_name_of_rhats_sites_has_a_row(api):
    table = "\n".join(row[3] for row in api.NAMES)
    for kind in rhat.sites.KINDS:
        assert kind in table or kind == "other_out", kind


def imported(code: str) -> set[str]:
    """Full names of what a piece of code takes from rhat, by import or as an attribute of `rhat`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "rhat":
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("rhat.")}
        elif isinstance(node, ast.Attribute) and re.match(r"rhat\.[\w.]+$", ast.unparse(node)):
            found.add(ast.unparse(node))
    return found


def is_public(name: str) -> bool:
    """Whether each part of a dotted name is exported by the module before it; of values, whatever they have."""
    value: object = rhat
    for part in name.split(".")[1:]:
        if isinstance(value, ModuleType) and part not in value.__all__:
            return False
        value = getattr(value, part)
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_take_only_what_is_exported(page):
    text = page.read_text("utf-8")
    names = {name for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) for name in imported(code)}
    inline = re.findall(r"`(rhat\.(?!cli|server|questions|lab|display|executor|distributed)[a-z_]+\.[\w.]+?)`", text)
    assert not [name for name in sorted(names) if not is_public(name)]
    assert not [name for name in inline if not (ROOT / "src" / name.replace(".", "/")).exists() and not is_public(name)]
