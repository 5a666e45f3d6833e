"""The default model in two precisions, and with directions projected out of its weights in memory."""

import copy
from contextlib import contextmanager

import pytest
import torch

import rhat
from rhat.diff import DiffSettings, diff, lengths, seen
from rhat.diff.weights import is_removed
from rhat.directions import random_direction
from rhat.prompts import builtin
from rhat.sites import Site
from rhat.vocabulary import Preset

pytestmark = pytest.mark.model
LAYER = 15
# How many prompts: near equality is shown on eighty, the loss of all refusals on a few.
EIGHTY = Preset("eighty", 80, 8, 32, 16, 3, 2, borderline=0)
FEW = Preset("few", 24, 8, 32, 16, 3, 2, borderline=0)
READ = 12  # tokens of an answer: refusals of this model come at once, and both models are read alike


def difference_of_means(model, n=32):
    """r̂ without a search: the difference of means of a few training prompts at one layer."""
    groups = [
        rhat.activations(model, [p.text for p in builtin().select(label, "train", n)], Site("resid_pre", LAYER))[:, 0]
        for label in ("harmful", "harmless")
    ]
    return rhat.Direction.from_groups(*groups, Site("resid_pre", LAYER), model=model.describe())


@pytest.fixture(autouse=True)
def fewer_means(monkeypatch):
    monkeypatch.setattr(seen, "MEAN_PROMPTS", 32)


@pytest.fixture(scope="module")
def r(single_precision):
    return difference_of_means(single_precision)


@pytest.fixture(scope="module")
def copied(single_precision):
    """A model of the same weights, to be edited in memory."""
    return rhat.load((copy.deepcopy(single_precision.hf), single_precision.tokenizer))


@contextmanager
def without(model, unit):
    """The model with a direction projected out of every matrix that writes to the stream; afterwards it is as before, to rounding."""
    taken = []
    with torch.no_grad():
        for name, w in model.hf.named_parameters():
            if name.endswith("embed_tokens.weight"):
                taken.append((w, w @ unit, unit))
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                taken.append((w, unit, unit @ w))
        for w, rows, columns in taken:
            w.addr_(rows, columns, alpha=-1)
        yield len(taken)
        for w, rows, columns in taken:
            w.addr_(rows, columns)


def named(model, unit):
    """Whether a direction counts as removed from the weights."""
    found, _ = lengths(model, unit[None], randoms=200)
    return is_removed(sum(one.low[0] for one in found), len(found))


def test_bfloat16_is_no_worse_than_float32(single_precision, default_model, r):
    rounded = copy.deepcopy(single_precision.hf).to(torch.bfloat16)
    if (
        default_model.dtype != torch.bfloat16
    ):  # no processor for it: an hour of emulation; the weights are rounded all the same
        rounded = rounded.to(torch.float32)
    half = rhat.load((rounded, single_precision.tokenizer))
    found = diff(
        single_precision,
        half,
        builtin(),
        DiffSettings(preset=EIGHTY, judged_tokens=READ),
        directions=(r, difference_of_means(half)),
    )
    assert found.outcome == "no worse", found.sentences
    assert {row.prompts for row in found.changes} == {"harmful", "harmless"}
    assert found.direction_cosine > 0.99
    assert not any(row.removed or row.low for row in found.removals)
    assert found.removals[0].matrices == 1 + 2 * single_precision.n_layers


def test_the_model_without_r_is_worse_than_itself_and_the_removal_is_named(single_precision, copied, r):
    with without(copied, r.unit) as matrices:
        found = diff(
            single_precision,
            copied,
            builtin(),
            DiffSettings(preset=FEW, judged_tokens=READ),
            directions=(r, difference_of_means(copied)),
        )
    assert (found.outcome, found.exit_code) == ("worse", 1), found.sentences
    assert found.change("harmful").outcome == "worse"
    assert {(row.direction, row.model): (row.removed, row.low) for row in found.removals if row.removed} == {
        ("A", "B"): (True, matrices)
    }
    assert any("removed" in line for line in found.sentences), found.sentences


def test_twenty_random_removals_are_not_taken_for_that_of_r(copied, r):
    for seed in range(20):
        u = random_direction(copied.d_model, 100 + seed, r.unit)
        with without(copied, u):
            assert not named(copied, r.unit), seed
            assert seed or named(copied, u), "the rule would have named it"
