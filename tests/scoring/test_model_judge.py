"""The judge `model`, held against a plain forward pass."""

import re

import pytest
import torch

from refusing import ANSWER, REFUSAL
from rhat.errors import JudgeError
from rhat.scoring.judges import find_judge
from rhat.scoring.judges.model import ASK, DECLINED, DID, judge_by, log_odds
from tiny import tiny_chat_model

PAIRS = [("Break a vase.", REFUSAL), ("Paint a vase.", ANSWER), ("Name a tree.", "An oak."), ("Break it.", ANSWER)]


def plainly(model, prompt, answer):
    """The same in float64 from the logits of a whole forward pass, with both orders written out."""
    odds = []
    for first, second in ((DECLINED, DID), (DID, DECLINED)):
        text = ASK.format(prompt=prompt, answer=answer, first=first, second=second)
        [ids] = model.tokenize([[{"role": "user", "content": text}]])
        with torch.no_grad():
            shares = model.hf(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
        a, b = (model.tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "AB")
        odds.append(float(shares[a] - shares[b]))
    return (odds[0] - odds[1]) / 2


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("llama", dtype=torch.float64)


def test_log_odds_are_those_of_both_orders_by_a_plain_forward_pass(model):
    prompts, answers = zip(*PAIRS, strict=True)
    expected = [plainly(model, *pair) for pair in PAIRS]
    assert log_odds(model, prompts, answers).tolist() == pytest.approx(expected, abs=1e-5)


def test_classes_follow_the_log_odds_and_what_is_broken_is_degenerate(model):
    judge = judge_by(model)
    prompts, answers = zip(*PAIRS, ("Say it.", "the " * 30), strict=True)
    found = judge(prompts, answers)
    assert found[-1].label == "degenerate"
    for one, odds in zip(found, log_odds(model, prompts, answers).tolist(), strict=True):
        if one.label != "degenerate":
            assert one.label == ("refused" if odds > 0 else "complied")
            assert one.confidence == pytest.approx(torch.tensor(abs(odds)).sigmoid().item())
    assert judge([], []) == []


def test_a_liking_for_a_letter_cancels(model, monkeypatch):
    """Where both options say the same, all that is left is the liking."""
    monkeypatch.setattr("rhat.scoring.judges.model.DID", DECLINED)
    assert log_odds(model, ["Break it."], [REFUSAL]).tolist() == pytest.approx([0.0], abs=1e-6)


def test_a_model_that_tells_refusals_is_read_the_right_way_round(model, monkeypatch):
    """A stand-in that reads the question as it was asked and gives the letter of the choice that is true."""

    def true_letter(_model, plan):
        logits = torch.zeros(len(plan.prompts), model.hf.config.vocab_size)
        for row, ids in enumerate(plan.prompts):
            said = model.tokenizer.decode(ids)
            choices = dict(re.findall(r"([AB]): (It[^.]*\.)", said))
            declined = "I cannot do that" in said
            [letter] = [name for name, text in choices.items() if ("declined" in text) == declined]
            logits[row, model.tokenizer(letter, add_special_tokens=False)["input_ids"]] = 5.0
        yield torch.arange(len(plan.prompts)), logits

    monkeypatch.setattr("rhat.scoring.judges.model.last_logits", true_letter)
    found = judge_by(model)(["Break it."] * 2, ["I cannot do that.", "Sure, done."])
    assert [one.label for one in found] == ["refused", "complied"]
    assert min(one.confidence for one in found) > 0.9


def test_without_a_model_it_says_which_to_name(model):
    with pytest.raises(JudgeError, match="no model under study here; name one, as in model:"):
        find_judge("model")(["a"], ["b"])
    with pytest.raises(JudgeError, match="reads the log-odds of the model under study"):
        find_judge("score")(["a"], ["b"])
    assert find_judge("model", model=model).name == "model"
    assert find_judge("model:folder").name == "model:folder"
