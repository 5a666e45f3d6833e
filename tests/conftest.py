"""For every test: no network, shapes checked as the annotations say, and the default model once a session."""

import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import hypothesis
import pytest
import torch

import once
import typecheck

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # on shared cores threads wait for one another: tiny models take twenty times as long
    torch.set_num_threads(1)
    gc.set_threshold(20_000)  # tiny models: what waits to be collected is small, and looking for it is not

# Nothing is timed in a test: on shared cores an example takes as long as it takes.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Where tensors are; elsewhere annotations such as numpy's ArrayLike mean more than a runtime checker knows.
TENSORS = (
    "auditing",
    "benching",
    "capture",
    "diff.weights",
    "directions",
    "gauges.inversion",
    "gauges.pair",
    "generation",
    "gradient",
    "heads",
    "interventions",
    "lab",
    "model",
    "scoring",
    "selection",
    "study",
)
typecheck.install([f"rhat.{name}" for name in TENSORS])


def pytest_collection_finish():
    """What was imported and collected stays to the end: Python need not look through it for garbage again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    typecheck.begin()


def pytest_collection_modifyitems(items):
    """The default model takes minutes where float32 is all that a processor multiplies, and the first test pays for the study."""
    for item in items:
        if item.get_closest_marker("model"):
            item.add_marker(pytest.mark.timeout(2400))


@pytest.fixture(autouse=True, scope="session")
def shared_folder(tmp_path_factory):
    """Where what is made once a test run lies: above the folders of pytest-xdist's processes, if there are several."""
    folder = tmp_path_factory.getbasetemp()
    once.shared = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "once"
    once.shared.mkdir(exist_ok=True)


@pytest.fixture(autouse=True, scope="session")
def nothing_proved_before():
    """Every model is tried anew: tests change what tries it."""
    from rhat.model import proofs

    kept, proofs.proved = proofs.proved, lambda _key, make: make()
    yield kept
    proofs.proved = kept


@pytest.fixture(scope="session")
def default_model():
    """The default model of the catalogue, loaded once."""
    import rhat

    return rhat.load()


@pytest.fixture(scope="session")
def single_precision(default_model):
    """The default model in float32: the same one where it is loaded so."""
    import rhat

    return default_model if default_model.dtype == torch.float32 else rhat.load(dtype="float32")


@pytest.fixture(scope="session")
def studied():
    """The folder of a study of all experiments on the tiny taught model, once for all processes; only to be read."""
    from studies import everything

    return once.once("studied", everything) / "run"
