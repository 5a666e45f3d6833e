"""The default model in two precisions, and with r̂ projected out of its weights in memory."""

import copy

import pytest
import torch

import rhat
from rhat.diff import DiffSettings, diff, lengths
from rhat.diff.weights import is_removed
from rhat.prompts import builtin
from rhat.sites import Site
from rhat.vocabulary import Preset

pytestmark = pytest.mark.model
SIZES = Preset("hundred", 100, 16, 32, 16, 3, 2, borderline=0)
LAYER = 15


def difference_of_means(model, n=32):
    """r̂ without a search: the difference of means of a few training prompts at one layer."""
    groups = [
        rhat.activations(model, [p.text for p in builtin().select(label, "train", n)], Site("resid_pre", LAYER))[:, 0]
        for label in ("harmful", "harmless")
    ]
    return rhat.Direction.from_groups(*groups, Site("resid_pre", LAYER), model=model.describe())


def test_bfloat16_is_no_worse_than_float32_and_a_removal_in_memory_is_named(default_model):
    whole = rhat.load(dtype="float32") if default_model.dtype != torch.float32 else default_model
    rounded = copy.deepcopy(whole.hf).to(torch.bfloat16)
    if (
        default_model.dtype != torch.bfloat16
    ):  # no processor for it: an hour of emulation; the weights are rounded all the same
        rounded = rounded.to(torch.float32)
    half = rhat.load((rounded, whole.tokenizer))
    r = difference_of_means(whole)
    found = diff(whole, half, builtin(), DiffSettings(preset=SIZES), directions=(r, difference_of_means(half)))
    assert found.outcome == "no worse", found.sentences
    assert {row.prompts for row in found.changes} == {"harmful", "harmless"}
    assert found.direction_cosine > 0.99
    assert not any(row.removed or row.low for row in found.removals)
    matrices = found.removals[0].matrices
    assert matrices == 1 + 2 * whole.n_layers
    unit = r.unit.double()
    with torch.no_grad():
        for name, w in half.hf.named_parameters():
            if name.endswith("embed_tokens.weight"):
                w -= torch.outer(w.double() @ unit, unit).to(w.dtype)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                w -= torch.outer(unit, unit @ w.double()).to(w.dtype)
    edited, _ = lengths(half, r.unit[None])
    assert is_removed(sum(one.low[0] for one in edited), matrices)
