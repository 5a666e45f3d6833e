"""The source distribution holds whatever is needed to build, test and document rhat again."""

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEFT_OUT = {".ci", ".gitignore", ".github", "pyproject.toml"}  # hatchling adds the last by itself


def test_the_source_distribution_leaves_out_nothing_that_is_tracked():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    with (ROOT / "pyproject.toml").open("rb") as file:
        included = tomllib.load(file)["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {name.split("/")[0] for name in tracked} - LEFT_OUT == set(included)
