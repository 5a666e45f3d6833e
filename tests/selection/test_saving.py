"""A finding comes back from its file as it was, and a lab opens with it."""

import dataclasses

import numpy as np
import pytest
import torch

import rhat
from labs import contrast_set, tiny_lab
from rhat.errors import ArtifactError
from rhat.prompts import ContrastSet
from rhat.selection.scored import Scored
from rhat.study import EXPERIMENTS, open_lab


@pytest.fixture(scope="module")
def lab():
    return tiny_lab()


def same(a, b) -> bool:
    """Equal, tensors to the bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b) and a.dtype == b.dtype
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(a.__dict__[f.name], b.__dict__[f.name]) for f in dataclasses.fields(a))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b and type(a) is type(b)


def test_every_field_comes_back(lab, tmp_path):
    survey = dataclasses.replace(
        lab.finding.survey,
        means=dataclasses.replace(lab.means, found=lab.means.harmful * 2, threshold=0.75),
        openings=(("I cannot", 3),),
        phrases=rhat.scoring.Phrases(("no way",)),
        prompts={"train": {"harmful": {"given": 12, "kept": 11}}},
        markup="after a think block",
        response_prefix="Sure",
        timings=(("activations", 0.5),),
    )
    full = dataclasses.replace(
        lab.finding,
        survey=survey,
        removed={"kl": 3},
        split_half_cosine=0.5,
        baseline_induce=-1.25,
        timings=(("search", 1.5),),
        scored=Scored(np.array([-1.5, 0.1]), {(1, -2): np.array([0.5])}, {(1, -1): np.array([1 / 3, 2.0])}, {}),
    )
    none = dataclasses.replace(survey, means=None, why_not=full.sentence)
    defaults = dataclasses.fields(full)
    for finding in (full, lab.finding, dataclasses.replace(full, survey=none, direction=None, outcome="no_refusal")):
        path = finding.save(tmp_path / "some" / "f.safetensors")
        back = rhat.Finding.load(path, lab.prompts)
        assert [f.name for f in defaults if not same(getattr(finding, f.name), getattr(back, f.name))] == []
    texts = [p.text.encode() for p in lab.prompts.prompts]
    assert not [t for t in texts if t in path.read_bytes()], "no prompt's text is in the file"


def test_a_lab_opens_with_it_and_measures_the_same(lab, tmp_path):
    back = rhat.Finding.load(lab.finding.save(tmp_path / "f.safetensors"), lab.prompts)
    opened = [open_lab(lab.model, lab.prompts, finding, preset="quick") for finding in (lab.finding, back)]
    for one in opened:
        one.sizes = lab.sizes
    first, second = (EXPERIMENTS["pca"](one) for one in opened)
    assert first.pca
    assert first == second


def test_what_is_no_finding_of_these_prompts_is_said_in_one_line(lab, tmp_path):
    path = lab.finding.save(tmp_path / "f.safetensors")
    other = ContrastSet("other", contrast_set().prompts[::-1][:50], 1)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:200])
    direction = lab.direction.save(tmp_path / "d.safetensors")
    for file, prompts, says in (
        (path, other, "other prompts"),
        (tmp_path / "none", lab.prompts, "no such file"),
        (cut, lab.prompts, "cannot be read as a finding"),
        (direction, lab.prompts, "not a finding written by rhat"),
    ):
        with pytest.raises(ArtifactError, match=says) as error:
            rhat.Finding.load(file, prompts)
        assert "\n" not in str(error.value)
