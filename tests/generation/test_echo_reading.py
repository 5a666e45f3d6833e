"""Log-probabilities of prompts are those of transformers' own logits at every position, with and without edits."""

from dataclasses import replace

import pytest
import torch

from rhat.directions import Direction
from rhat.errors import NonFiniteError, PromptError
from rhat.generation import prompt_logprobs
from rhat.generation.text import pieces_of
from rhat.interventions import intervene
from tiny import tiny_chat_model

TEXTS = ("the river is near the other river and a stone", "a", "one is here", "héron ≈ 5 €")


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def model(request):
    return tiny_chat_model(request.param)


def prompts_of(model):
    return [tuple(model.tokenizer(text)["input_ids"]) for text in TEXTS]


def by_hand(model, tokens):
    with torch.no_grad():
        logits = model.hf(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].double()
    return torch.log_softmax(logits, -1)[:-1]


def doing(model, **given):
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(2))
    return intervene("add", Direction.of(vector / vector.norm(), site="resid_pre.1"), value=4.0, **given)


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("fast", [True, False])
def test_they_are_transformers_own(model, edited, fast):
    model = replace(model)
    if not fast:
        model.__dict__["fast"] = False
    change = doing(model)
    got = prompt_logprobs(model, prompts_of(model), 3, change.edits(model) if edited else None)
    plain = prompt_logprobs(model, prompts_of(model), 3)
    assert (got == plain) is not edited
    for tokens, noted in zip(prompts_of(model), got, strict=True):
        assert [one.token for one in noted] == list(tokens[1:])
        if edited:
            with change.on(model):
                expected = by_hand(model, tokens)
        else:
            expected = by_hand(model, tokens)
        for one, row in zip(noted, expected, strict=True):
            assert one.logprob == pytest.approx(float(row[one.token]), abs=1e-6)
            assert [value for _, value in one.top] == pytest.approx(row.topk(3).values.tolist(), abs=1e-6)
            assert one.top[0][0] == int(row.argmax())


def test_a_prompt_longer_than_what_meets_the_vocabulary_at_once(model):
    tokens = tuple(range(5, 175))
    got = prompt_logprobs(model, [tokens], 0)[0]
    expected = by_hand(model, tokens)
    assert [one.logprob for one in got] == pytest.approx(
        [float(row[token]) for row, token in zip(expected, tokens[1:], strict=True)], abs=1e-6
    )


def test_scopes_are_those_of_a_prompt_without_a_template(model):
    change = doing(model, scope="generated")
    assert prompt_logprobs(model, prompts_of(model), 0, change.edits(model)) == prompt_logprobs(
        model, prompts_of(model)
    )


def test_what_cannot_be_read():
    model = tiny_chat_model("llama")
    with pytest.raises(PromptError, match="prompt of 0 tokens"):
        prompt_logprobs(model, [(5, 6), ()])
    huge = replace(doing(model), value=1e300)
    with pytest.raises(NonFiniteError):
        prompt_logprobs(model, [(5, 6, 7)], 0, huge.edits(model))


@pytest.mark.parametrize("text", ["the river", "héron ≈ 5 €", "a  b\n\nc", "<|user|>\na<|end|>", "🦦🦦"])
def test_pieces_are_the_text(text):
    tokenizer = tiny_chat_model("llama").tokenizer
    tokens = tokenizer(text)["input_ids"]
    pieces = pieces_of(tokenizer, tokens, text)
    assert len(pieces) == len(tokens)
    assert "".join(pieces) == text


def test_a_start_that_the_tokenizer_added_brings_no_text():
    tokenizer = tiny_chat_model("llama").tokenizer
    tokens = [0, *tokenizer("the river")["input_ids"]]
    assert pieces_of(tokenizer, tokens, "the river")[0] == ""
    assert "".join(pieces_of(tokenizer, tokens, "the river")) == "the river"
    assert "".join(pieces_of(tokenizer, tokens, tokenizer.decode(tokens))) == "<pad>the river"
