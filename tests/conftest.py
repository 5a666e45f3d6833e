"""For every test: no network, shapes checked as the annotations say, and the default model once a session."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from jaxtyping import install_import_hook

install_import_hook("rhat", "beartype.beartype")


@pytest.fixture(scope="session")
def default_model():
    """The default model of the catalogue, loaded once."""
    import rhat

    return rhat.load()
