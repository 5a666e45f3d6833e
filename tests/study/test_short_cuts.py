"""Readings with all that is shared and left out, held against readings of the same prompts without any of it, prompt by prompt."""

import numpy as np
import pytest

import rhat
from labs import SIZES, contrast_set, tiny_finding
from refusing import refusing_hf
from rhat.generation import stepping
from rhat.interventions import ablate, add, set_projection, subtract
from rhat.lab import Lab
from rhat.model.work import counting
from tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def model():
    return rhat.load((refusing_hf(), tiny_tokenizer()))


def measured(model):
    """Every condition on both labels, and what it took."""
    prompts = contrast_set(13)
    lab = Lab(model, prompts, tiny_finding(model, prompts, layer=3), SIZES)
    d = lab.direction
    treatments = {
        "baseline": None,
        "set": set_projection(d),
        "add": add(d),
        "add a little": add(d, 0.1 * d.norm),
        "subtract": subtract(d),
        "ablate": ablate(d),
    }
    with counting() as ledger:
        found = {label: lab.measure_conditions(treatments, label, 10, kl=True) for label in ("harmful", "harmless")}
    return found, ledger.total


def test_the_same_readings_prompt_by_prompt_for_less(model, monkeypatch):
    cut, less = measured(model)
    monkeypatch.setattr(stepping, "LEAST_SAVED", 2.0)  # nothing is shared
    monkeypatch.setitem(model.__dict__, "last_mlps", ())  # nothing is left out
    whole, all_of_it = measured(model)
    for label, conditions in whole.items():
        for name, m in conditions.items():
            mine = cut[label][name]
            assert mine.verdicts == m.verdicts, (label, name)
            assert mine.hashes == m.hashes, (label, name)  # of the answers, word for word
            np.testing.assert_allclose(mine.scores, m.scores, atol=1e-4)
            np.testing.assert_allclose(mine.kl, m.kl, atol=1e-4)
    readings = {v for conditions in whole.values() for m in conditions.values() for v in m.verdicts}
    assert {"refused", "complied"} <= readings
    assert less.block_step_tokens < 0.85 * all_of_it.block_step_tokens
    assert less.flop < 0.9 * all_of_it.flop
