"""A local Ray cluster of two workers, and a tiny model that refuses."""

import pytest

import rhat
from labs import HARMFUL, HARMLESS, PLACES, THINGS
from refusing import refusing_folder
from rhat.prompts import ContrastSet, Prompt


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return refusing_folder(tmp_path_factory.mktemp("models") / "refusing")


@pytest.fixture(scope="session")
def model(folder):
    return rhat.load(folder, dtype="float64")


@pytest.fixture(scope="session")
def prompts():
    """More than one batch of each label in every split that is used."""
    made = []
    for label, form in (("harmful", HARMFUL), ("harmless", HARMLESS)):
        for i in range(3 * 72):
            text = form.format(THINGS[i % 13], f"{PLACES[i // 13 % 4]}, {i // 52 + 1} times")
            made.append(Prompt(text, label, ("train", "validation", "test")[i % 3], f"{label}-{i}"))
    return ContrastSet("many", tuple(made), 0)


@pytest.fixture(scope="session")
def ray_executor(folder):
    from rhat.distributed import RayExecutor

    with RayExecutor({"name": str(folder)}, workers=2, cpus=1) as executor:
        yield executor
