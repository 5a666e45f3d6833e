"""The tiny taught model, its prompts and r̂, and a small bench of them, once for all tests of benches."""

from dataclasses import replace

import pytest

import rhat
from labs import contrast_set
from refusing import refusing_hf
from rhat.benching import BenchSettings, bench
from rhat.benching.settings import SIZES
from rhat.model.work import counting
from rhat.scoring.pieces import Pieces
from tiny import tiny_tokenizer


@pytest.fixture(scope="session", autouse=True)
def few_questions():
    """Sixteen questions in place of forty-eight: by the tiny tokenizer each is a hundred tokens long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "quick", replace(SIZES["quick"], items=16))
        yield


@pytest.fixture(scope="session")
def prompts():
    return contrast_set(13)


@pytest.fixture(scope="session")
def model():
    return rhat.load((refusing_hf(), tiny_tokenizer()))


@pytest.fixture(scope="session")
def r(model, prompts):
    return rhat.find(model, prompts).direction


@pytest.fixture(scope="session")
def settings():
    return BenchSettings(
        only=("finders", "rules", "baselines"), finders=("lat", "category", "given"), kl=(2.0,), judged_tokens=10
    )


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="session")
def counted(model, prompts, r, settings, kept):
    """A bench, and the work that it took."""
    with counting() as ledger:
        found = bench(model, prompts, r, settings, pieces=Pieces.of(kept, model))
    return found, ledger.total


@pytest.fixture(scope="session")
def found(counted):
    return counted[0]
