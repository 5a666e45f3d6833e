"""Drawing tokens, against torch's own distributions and hand-worked cases."""

import math
from collections import Counter

import pytest
import torch

from rhat.errors import PromptError
from rhat.generation import Sampling
from rhat.model import sampling as module

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, -30.0])


def draws(sampling, logits=LOGITS, n=4000, said=()):
    generator = sampling.generator()
    return Counter(sampling.pick(logits, said, generator) for _ in range(n))


def test_temperature_draws_from_the_softmax():
    counts = draws(Sampling(temperature=0.7, seed=1))
    expected = torch.softmax(LOGITS.double() / 0.7, -1)
    for token in range(4):
        sd = math.sqrt(4000 * expected[token] * (1 - expected[token]))
        assert abs(counts[token] - 4000 * expected[token]) < 5 * sd + 1
    assert draws(Sampling(temperature=0.7, seed=1)) == counts


def test_temperature_zero_takes_the_likeliest():
    assert draws(Sampling(), n=5) == {0: 5}


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.5, {0}), (0.7, {0, 1}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3})],
)
def test_top_p_keeps_the_smallest_set_of_that_mass(top_p, kept):
    """Softmax of 2, 1, 0, -1 is 0.644, 0.237, 0.087, 0.032."""
    assert set(draws(Sampling(1.0, top_p=top_p))) == kept


def test_top_p_beyond_the_first_few_tokens(monkeypatch):
    flat = torch.zeros(2000)
    flat[:10] = 1e-3  # ties are broken by topk; the size of the kept set is what counts
    monkeypatch.setattr(module, "FEW", 8)
    values, tokens = module._likeliest(flat.double(), 0.5, 0)
    assert abs(len(tokens) - 1000) <= 2
    assert len(set(tokens.tolist())) == len(tokens)
    assert (values[:10] > 0).all()


def test_top_k():
    assert set(draws(Sampling(1.0, top_k=2))) == {0, 1}
    assert set(draws(Sampling(1.0, top_k=2, top_p=0.7))) == {0}  # 0.731 of the two


def test_penalties_and_biases_shift_logits():
    assert Sampling(presence_penalty=1.5).pick(LOGITS, [0, 0, 0], torch.Generator()) == 1  # 0.5 against 1
    assert Sampling(frequency_penalty=0.4).pick(LOGITS, [0, 0], torch.Generator()) == 0  # 1.2 against 1
    assert Sampling(frequency_penalty=0.4).pick(LOGITS, [0, 0, 0], torch.Generator()) == 1  # 0.8 against 1
    assert Sampling(logit_bias={3: 3.5}).pick(LOGITS, [], torch.Generator()) == 3
    assert LOGITS[3] == -1.0  # the logits are the caller's


@pytest.mark.parametrize(
    "wrong", [{"temperature": math.nan}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(PromptError, match=next(iter(wrong))):
        Sampling(**wrong)
