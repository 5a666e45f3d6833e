import copy
import shutil

import pytest

import studies
from once import once
from rhat import report
from rhat import results as contract


@pytest.fixture(scope="session")
def released():
    """The study of the first release, as a record: its numbers are known."""
    return contract.load(studies.RELEASED)


@pytest.fixture(scope="session")
def stored():
    """The same as JSON values, without most of what is long and single: dots, candidates, tokens."""
    found = contract.read(studies.RELEASED)
    for row in found["pca"]:
        row["points"] = row["points"][::50]
    return found | {"candidates": found["candidates"][::10], "trajectories": found["trajectories"][::4]}


@pytest.fixture
def results(stored):
    """A copy for a test to change."""
    return copy.deepcopy(stored)


@pytest.fixture(params=["released", "studied"], scope="session")
def run(request, released):
    """Runs that took place: the one of the first release, and every experiment on a tiny model."""
    return released if request.param == "released" else contract.load(request.getfixturevalue("studied"))


@pytest.fixture(scope="session")
def drawn_folder(studied):
    """A study's folder with its report drawn; only to be read."""

    def make(folder):
        shutil.copy(studied / "results.json", folder)
        report.draw(folder)

    return once("drawn", make)
