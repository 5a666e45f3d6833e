"""What a vector from elsewhere lacks, measured on a model that was taught to refuse, against plain transformers."""

import pytest
import torch

import rhat
from labs import contrast_set
from refusing import refusing_hf
from rhat import vectors
from rhat.directions import Direction
from tiny import tiny_chat_model, tiny_tokenizer


@pytest.fixture(scope="module")
def model():
    return rhat.load((refusing_hf(), tiny_tokenizer()))


@pytest.fixture(scope="module")
def prompts():
    return contrast_set(per_split=13)


@pytest.fixture(scope="module")
def found(model, prompts):
    return rhat.find(model, prompts)


def test_the_means_of_a_bare_vector_are_those_that_find_measures(model, prompts, found):
    r = found.direction
    bare = Direction.of(3.7 * r.unit, site=r.site, model=model, position=r.position)
    adopted, finding = vectors.adopt(model, prompts, bare)
    assert adopted.mean_harmful == pytest.approx(r.mean_harmful, rel=1e-5)
    assert adopted.mean_harmless == pytest.approx(r.mean_harmless, rel=1e-5)
    assert adopted.norm == pytest.approx(r.norm, rel=1e-5)
    assert adopted.extra["given_norm"] == pytest.approx(3.7, rel=1e-5)
    assert adopted.prompts == prompts.fingerprint
    assert finding.token_ids == found.token_ids
    assert finding.direction is adopted


def test_the_means_are_plain_transformers(model, prompts, found):
    r = found.direction
    adopted, finding = vectors.adopt(
        model, prompts, Direction.of(r.unit, site=r.site, model=model, position=r.position)
    )
    for label, mean in (("harmful", adopted.mean_harmful), ("harmless", adopted.mean_harmless)):
        seen = []
        for ids in model.tokenize([p.text for p in finding.kept["train"][label]]):
            with torch.no_grad():
                states = model.hf(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
            seen.append(float(states[r.layer][0, r.position].double() @ r.unit.double()))
        assert mean == pytest.approx(sum(seen) / len(seen), rel=1e-5)


def test_position_is_where_the_difference_of_means_points_most_along_it(model, prompts, found):
    for position in found.means.positions:
        at, layer = found.means.positions.index(position), 3
        gap = (found.means.harmful - found.means.harmless)[layer, at]
        bare = Direction.of(gap, site=f"resid_pre.{layer}", model=model)
        assert vectors.adopt(model, prompts, bare, choose_position=True)[0].position == position


def test_sign_and_vector_are_kept(model, prompts, found):
    r = found.direction
    turned, _ = vectors.adopt(model, prompts, Direction.of(-r.unit, site=r.site, model=model, position=r.position))
    assert turned.cosine(r) == pytest.approx(-1)
    assert turned.mean_harmful == pytest.approx(-r.mean_harmful, rel=1e-5)
    assert turned.norm == pytest.approx(r.norm, rel=1e-5)


def test_on_a_model_that_does_not_refuse_means_stay_unknown(prompts):
    model = tiny_chat_model("llama", dtype=torch.float32)
    bare = Direction.of(torch.ones(model.d_model), site="resid_pre.1", model=model)
    same, finding = vectors.adopt(model, prompts, bare)
    assert same is bare
    assert same.means == (None, None)
    assert finding.outcome == "no_refusal"
