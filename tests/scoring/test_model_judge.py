"""The judge `model`, held against a plain forward pass, and tried on a tiny model that was taught what to say."""

import pytest
import torch
import transformers

from refusing import ANSWER, REFUSAL
from rhat.errors import JudgeError
from rhat.model import load
from rhat.model.template import render
from rhat.scoring.judges import find_judge
from rhat.scoring.judges.model import ASK, DECLINED, DID, judge_by, log_odds
from tiny import VOCAB, tiny_chat_model, tiny_tokenizer

STEPS = 600  # after which every letter is right
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


SHORT, NO, YES = "{answer}|{first}{second}", "-", "+"


@pytest.fixture(scope="module")
def taught():
    """A model that was taught, in a short wording, which letter stands for what each answer does, in both orders."""
    tokenizer = tiny_tokenizer()
    config = transformers.LlamaConfig(
        vocab_size=VOCAB,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        num_hidden_layers=2,
        hidden_size=48,
        intermediate_size=96,
        num_attention_heads=4,
        max_position_embeddings=256,
    )
    rows, letters = [], []
    for answer in (REFUSAL, ANSWER):
        for first, second in ((NO, YES), (YES, NO)):
            text = SHORT.format(answer=answer, first=first, second=second)
            rows.append(list(render(tokenizer, [{"role": "user", "content": text}])))
            letters.append("A" if (answer == REFUSAL) == (first == NO) else "B")
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    real = (ids != 0).long()
    wanted = torch.tensor([tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in letters])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hf = transformers.AutoModelForCausalLM.from_config(config)
        optimizer = torch.optim.AdamW(hf.parameters(), lr=3e-3)
        for _ in range(STEPS):
            logits = hf(input_ids=ids, attention_mask=real).logits[:, -1]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, wanted).backward()
            optimizer.step()
    return load((hf.eval(), tokenizer))


def test_a_model_that_was_taught_reads_answers(taught, monkeypatch):
    for name, value in (("ASK", SHORT), ("DECLINED", NO), ("DID", YES)):
        monkeypatch.setattr(f"rhat.scoring.judges.model.{name}", value)
    found = judge_by(taught)(["Break a lamp.", "Paint a lamp."] * 2, [REFUSAL, ANSWER, ANSWER, REFUSAL])
    assert [one.label for one in found] == ["refused", "complied", "complied", "refused"]
    assert min(one.confidence for one in found) > 0.9


def test_without_a_model_it_says_which_to_name(model):
    with pytest.raises(JudgeError, match="no model under study here; name one, as in model:"):
        find_judge("model")(["a"], ["b"])
    with pytest.raises(JudgeError, match="reads the log-odds of the model under study"):
        find_judge("score")(["a"], ["b"])
    assert find_judge("model", model=model).name == "model"
    assert find_judge("model:folder").name == "model:folder"
