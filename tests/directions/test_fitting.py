"""A direction is taken by the weights that it was found on, however they were loaded, and by others only when allowed."""

import copy
import logging

import pytest
import torch

import rhat
from rhat.errors import DirectionError
from rhat.guard import prompt_projections
from rhat.study.summary import head
from tiny import tiny_chat_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, seed in (("mine", 1), ("other", 2)):
        torch.manual_seed(seed)
        model = tiny_chat_model("llama", n_layers=3)
        with torch.no_grad():
            for parameter in model.hf.parameters():
                parameter.copy_(torch.randn(parameter.shape) * 0.1)
        model.hf.save_pretrained(folder / name)
        model.tokenizer.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def mine(folder):
    return rhat.load(str(folder / "mine"), "float32")


@pytest.fixture(scope="module")
def direction(mine, tmp_path_factory):
    made = rhat.Direction.of(
        torch.randn(mine.d_model), site="resid_pre.1", model=mine, mean_harmful=1.0, mean_harmless=0.0
    )
    return rhat.Direction.load(made.save(tmp_path_factory.mktemp("r") / "r.safetensors"))


def handed_over(model):
    return rhat.load((copy.deepcopy(model.hf), model.tokenizer))


def test_the_same_weights_take_it_in_any_precision_and_however_they_were_loaded(folder, mine, direction):
    half = rhat.load(str(folder / "mine"), "bfloat16")
    for model in (mine, half, handed_over(mine), handed_over(half), rhat.load((mine.hf.double(), mine.tokenizer))):
        assert direction.check_fits(model) is direction
    mine.hf.float()
    found_in_memory = rhat.Direction.of(direction.unit, site="resid_pre.1", model=handed_over(mine))
    assert found_in_memory.check_fits(mine) is found_in_memory


def test_other_weights_do_not_not_even_in_memory_or_after_a_small_change(folder, mine, direction):
    tuned = handed_over(mine)
    with torch.no_grad():
        for parameter in tuned.hf.parameters():
            parameter.mul_(1.01)
    in_memory = rhat.Direction.of(direction.unit, site="resid_pre.1", model=handed_over(mine))
    for model in (rhat.load(str(folder / "other"), "float32"), rhat.load((tuned.hf, tuned.tokenizer))):
        for one in (direction, in_memory):
            with pytest.raises(DirectionError, match="allow_other_model=True") as error:
                one.check_fits(model)
            assert "\n" not in str(error.value)


def test_where_it_is_allowed_it_is_used_and_results_say_so(folder, direction, caplog):
    other = rhat.load(str(folder / "other"), "float32")
    third = handed_over(other)
    with torch.no_grad():
        third.hf.model.norm.weight.mul_(1.1)
    with caplog.at_level(logging.WARNING):
        allowed = direction.check_fits(other, allow_other_model=True)
    assert "though it was found on" in caplog.text
    for same in (other, handed_over(other)):
        assert allowed.check_fits(same) is allowed
    assert torch.equal(allowed.unit, direction.unit)
    prompt_projections(other, allowed, other.tokenize(["Sing."]))
    assert allowed.describe()["found_on"] == direction.model["name"]
    assert "found_on" not in direction.describe()
    finding = rhat.Finding("found", "given", allowed)
    assert head(other, finding)["direction"]["found_on"] == direction.model["name"]
    assert "found_on" not in head(other, rhat.Finding("found", "given", direction))["direction"]
    with pytest.raises(DirectionError, match="another model"):
        allowed.check_fits(third)


def test_a_width_that_differs_is_never_allowed(direction):
    narrow = tiny_chat_model("gpt2", n_layers=3)
    unit = torch.nn.functional.normalize(torch.ones(narrow.d_model + 2), dim=0)
    wide = rhat.Direction(unit, direction.site, -1, 1.0, None, None)
    with pytest.raises(DirectionError, match="got width"):
        wide.check_fits(narrow, allow_other_model=True)
