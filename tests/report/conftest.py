import copy
import shutil

import pytest

import studies
from rhat import report
from rhat import results as contract


@pytest.fixture(scope="session")
def example():
    """The run in docs/example, as a record."""
    return contract.load(studies.EXAMPLE)


@pytest.fixture(scope="session")
def stored():
    """The same as JSON values, without most of what is long and single: dots, candidates, tokens."""
    found = contract.read(studies.EXAMPLE)
    for row in found["pca"]:
        row["points"] = row["points"][::50]
    return found | {"candidates": found["candidates"][::10], "trajectories": found["trajectories"][::4]}


@pytest.fixture
def results(stored):
    """A copy for a test to change."""
    return copy.deepcopy(stored)


@pytest.fixture(params=["example", "studied"], scope="session")
def run(request, example):
    """Runs that took place: the one in docs/example, and every experiment on a tiny model."""
    return example if request.param == "example" else contract.load(request.getfixturevalue("studied"))


@pytest.fixture(scope="session")
def drawn_folder(tmp_path_factory, studied):
    """A study's folder with its report drawn."""
    folder = tmp_path_factory.mktemp("drawn")
    shutil.copy(studied / "results.json", folder)
    report.draw(folder)
    return folder
