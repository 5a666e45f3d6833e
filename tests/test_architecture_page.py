"""docs/architecture.md shows the import contracts of now, every import goes down its picture, and its diffs are real."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
WRITTEN_HERE = ("How to add a finder", "How to add a question")  # no part of the source: a test puts them in
LAZY = {("model", "generation")}  # model.generate(), which the page names as the exception


def picture() -> dict[str, int]:
    """Package → number of its layer from above, read off the page's boxes."""
    boxes = re.findall(r"^│ +(\w.*?) +│$", PAGE, re.MULTILINE)
    return {name: depth for depth, layer in enumerate(boxes) for name in layer.split()}


def diffs() -> dict[str, list[tuple[str, list[str]]]]:
    """Heading → (file, added lines) of its diff."""
    found = {}
    for heading, body in re.findall(r"^## (How to add .*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        (diff,) = re.findall(r"```diff\n(.*?)```", body, re.DOTALL)
        assert len(diff.splitlines()) <= 40, heading
        parts = re.split(r"^--- (.*)\n", diff, flags=re.MULTILINE)[1:]
        found[heading] = [
            (file, [line[1:] for line in lines.splitlines() if line.startswith("+")])
            for file, lines in zip(parts[::2], parts[1::2], strict=True)
        ]
    return found


def imports(file: Path) -> set[str]:
    """Packages of rhat that a file imports, inside functions too, but not for type checkers alone."""

    class Collect(ast.NodeVisitor):
        found: frozenset[str] = frozenset()

        def visit_If(self, node):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                self.generic_visit(node)

        def visit_Import(self, node):
            self.found = self.found | {alias.name for alias in node.names}

        def visit_ImportFrom(self, node):
            names = {f"rhat.{alias.name}" for alias in node.names} if node.module == "rhat" else {node.module or ""}
            self.found = self.found | names

    collect = Collect()
    collect.visit(ast.parse(file.read_text("utf-8")))
    return {name.split(".")[1] for name in collect.found if name.startswith("rhat.")}


def test_the_block_is_that_of_the_contracts():
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.written(PAGE) == PAGE, "run python docs/architecture.py"


def test_every_package_is_in_the_picture_and_imports_only_from_below():
    depth = picture()
    for file in (ROOT / "src" / "rhat").rglob("*.py"):
        package = file.relative_to(ROOT / "src" / "rhat").parts[0].removesuffix(".py")
        if package in ("__init__", "__main__"):
            continue
        for other in (imports(file) & depth.keys()) - {package}:
            assert depth[package] < depth[other] or (package, other) in LAZY, f"{file}: {package} imports {other}"
        assert package in depth, f"{package} is not in the picture"


@pytest.mark.parametrize("heading", [heading for heading in diffs() if heading not in WRITTEN_HERE])
def test_a_diff_is_what_the_source_holds(heading):
    for file, added in diffs()[heading]:
        source = (ROOT / file).read_text("utf-8")
        assert "\n".join(added) in source, f"{file} does not hold what the page's diff adds"


ADDED_FINDER = """
import runpy, sys
import torch
from rhat.cli import run
from rhat.directions import Direction
from rhat.display import wording
from rhat.questions.finders.measure import compared
from rhat.sites import Site
checks = runpy.run_path(sys.argv[1])
exec(open(sys.argv[2]).read(), checks)
checks["test_median_difference_is_that_of_numpy_and_ignores_an_outlier"]()
gap = torch.tensor([3.0, 0.0, -4.0])
noise = torch.randn(501, 3, generator=torch.Generator().manual_seed(0))
found = Direction.from_groups(noise + gap, noise, Site("resid_pre", 1), finder="median_difference", model={"name": "tiny"})
torch.testing.assert_close(found.unit.cpu().float(), gap / 5, atol=1e-5, rtol=0)
assert abs(found.norm - 5.0) < 1e-4
assert "median_difference" in compared() and wording.finder("median_difference") == "Median difference"
run(["find", "--help"])
"""


def test_the_finder_of_the_page_is_found_everywhere_once_it_is_added(tmp_path):
    shutil.copytree(ROOT / "src" / "rhat", tmp_path / "rhat", ignore=shutil.ignore_patterns("__pycache__"))
    (record, words), (function, code), (tests, test) = diffs()["How to add a finder"]
    table = tmp_path / Path(record).relative_to("src")
    first = '    FinderKind(\n        "projected_difference"'
    source = table.read_text("utf-8")
    assert first in source
    table.write_text(source.replace(first, "\n".join(words) + "\n" + first), "utf-8")
    file = tmp_path / Path(function).relative_to("src")
    file.write_text(file.read_text("utf-8") + "\n\n" + "\n".join(code) + "\n", "utf-8")
    (tmp_path / "added.py").write_text("\n".join(test), "utf-8")
    where = os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "400"}
    command = [sys.executable, "-c", ADDED_FINDER, str(ROOT / tests), str(tmp_path / "added.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=where)
    assert done.returncode == 0, done.stderr
    assert "median_difference" in done.stdout


LIBRARY = (ROOT / "docs" / "library.md").read_text("utf-8")


def test_the_diffs_of_the_library_page_are_what_the_source_holds():
    found = re.findall(r"```diff\n(.*?)```", LIBRARY, re.DOTALL)
    found = [
        diff for diff in found if "vocabulary/operators.py" not in diff
    ]  # that of the operator leaves lines out between
    assert len(found) == 2
    for diff in found:
        parts = re.split(r"^--- (.*)\n", diff, flags=re.MULTILINE)[1:]
        for file, lines in zip(parts[::2], parts[1::2], strict=True):
            added = "\n".join(line[1:] for line in lines.splitlines() if line.startswith("+"))
            assert added in (ROOT / file).read_text("utf-8"), file


USED = """
from labs import tiny_lab
from rhat import results
from rhat.questions import KEYS
from rhat.report import drawings, verdicts
from rhat.study import EXPERIMENTS, StudyConfig
from rhat.study.cost import EXPERIMENTS as COSTS
lab = tiny_lab()
part = EXPERIMENTS["own_layer"](lab).plain()
run = {"schema_version": 3, "outcome": "found", "outcome_sentence": "made up", "model": lab.model.describe(), **part}
run = results.records(results.check(run | {"conditions": lab.conditions}))
assert run.comparisons[0].names == ("ablate:own", "ablate", "harmful")
assert "own_layer" in StudyConfig().experiments and "own_layer" in COSTS
found = verdicts.verdicts(run)["own_layer"]
assert found.word == run.comparisons[0].verdict and "Ablate (own)" in found.sentence, found
assert "own_layer" in [drawing.name for drawing, _ in drawings.drawn(run)]
print(KEYS[-1])
"""


def test_the_question_of_the_page_is_asked_measured_answered_and_drawn(tmp_path):
    shutil.copytree(ROOT / "src" / "rhat", tmp_path / "rhat", ignore=shutil.ignore_patterns("__pycache__"))
    ((table, line), *files) = diffs()["How to add a question"]
    keys = tmp_path / Path(table).relative_to("src")
    keys.write_text(keys.read_text("utf-8").replace('    "horizon",\n', f'    "horizon",\n{line[0]}\n'), "utf-8")
    for file, added in files:
        path = tmp_path / Path(file).relative_to("src")
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(added) + "\n", "utf-8")
    where = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "tests")])}
    done = subprocess.run([sys.executable, "-c", USED], capture_output=True, text=True, env=where)
    assert done.stdout == "own_layer\n", done.stderr
