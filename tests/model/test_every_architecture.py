"""Every causal language model of transformers, shrunk: it agrees with plain transformers, or loading rejects it in one line.

The rows of docs/families.md are held to what is found here.
"""

import functools
import importlib.util
from pathlib import Path

import pytest
import transformers

import shrunk
from sweep import Fault, tried

ROOT = Path(__file__).parents[2]


@functools.cache
def families():
    spec = importlib.util.spec_from_file_location("families", ROOT / "docs" / "families.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", shrunk.KINDS)
def test_it_agrees_with_transformers_or_is_rejected_and_the_page_says_so(kind):
    found = tried(kind)
    assert found.outcome in ("works", "rejected", "not built")
    page = families().PAGE.read_text("utf-8")
    if f"transformers {transformers.__version__}." in page:
        assert families().line(found) in page.splitlines(), "run python docs/families.py"


def test_well_over_a_hundred_are_said_to_work():
    page = families().PAGE.read_text("utf-8").splitlines()
    assert sum(line.startswith("| `") and "`rhat check`" not in line for line in page) > 130


def broken(monkeypatch, kind, name, instead):
    """The sweep's row of a kind with something of rhat broken."""
    import sweep

    monkeypatch.setattr(sweep, name, instead)
    return sweep.tried(kind)


def test_a_difference_from_transformers_is_a_fault(monkeypatch):
    import sweep

    wrong = sweep.last_logits

    def shifted(model, plan):
        for rows, logits in wrong(model, plan):
            yield rows, logits * 1.01

    with pytest.raises(Fault, match="logits differ by"):
        broken(monkeypatch, "llama", "last_logits", shifted)


def test_what_ablation_leaves_is_a_fault(monkeypatch):
    from dataclasses import replace

    import rhat

    load = rhat.load

    def forgetful(pair):
        model = load(pair)
        parts = tuple(replace(p, mlp_out=None) for p in model.layout.parts)
        return replace(model, layout=replace(model.layout, parts=parts))

    monkeypatch.setattr(rhat, "load", forgetful)
    with pytest.raises(Fault, match="ablation leaves"):
        tried("llama")
