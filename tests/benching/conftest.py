"""The tiny taught model, its prompts and r̂, once for all tests of benches."""

import pytest

import rhat
from labs import contrast_set
from refusing import refusing_hf
from tiny import tiny_tokenizer


@pytest.fixture(scope="session")
def prompts():
    return contrast_set(13)


@pytest.fixture(scope="session")
def model():
    return rhat.load((refusing_hf(), tiny_tokenizer()))


@pytest.fixture(scope="session")
def r(model, prompts):
    return rhat.find(model, prompts).direction
