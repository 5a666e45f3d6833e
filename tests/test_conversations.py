"""Strings, conversations with a system message and several turns, and thinking on or off: one call each, everywhere that takes prompts."""

import pytest
import torch

import rhat
from rhat.errors import TemplateError
from rhat.guard import evaluate, prompt_projections
from rhat.heads import attribute
from rhat.scoring import judge_answers, last_token_scores, refusals
from tiny import tiny_chat_model, tiny_tokenizer

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Name a river."},
    {"role": "assistant", "content": "The Nile."},
    {"role": "user", "content": "And a lake."},
]
PROMPTS = [TALK, "Name a lake."]
SWITCH = (
    "{%- for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}{%- if add_generation_prompt %}<|assistant|>\n"
    "{%- if enable_thinking is defined and enable_thinking is false %}(no thoughts){% endif %}{% endif %}"
)


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model()


@pytest.fixture(scope="module")
def direction(model):
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    return rhat.Direction.of(vector / vector.norm(), site="resid_pre.1", model=model)


CALLS = {
    "generate": lambda model, r, prompts: [one.tokens for one in model.generate(prompts, 4)],
    "steered": lambda model, r, prompts: [
        one.tokens for one in model.generate(prompts, 4, intervention=rhat.ablate(r))
    ],
    "logits": lambda model, r, prompts: rhat.logits(model, prompts),
    "activations": lambda model, r, prompts: rhat.activations(model, prompts, "resid_pre.1"),
    "projections": lambda model, r, prompts: rhat.projections(model, prompts, r),
    "guard": lambda model, r, prompts: prompt_projections(model, r, prompts),
    "scores": lambda model, r, prompts: last_token_scores(model, prompts, [3]),
    "refusals": lambda model, r, prompts: [one.tokens for one in refusals(model, prompts).completions],
}


@pytest.mark.parametrize("call", CALLS)
def test_a_conversation_and_a_string_together_are_read_as_each_alone(model, direction, call):
    do = CALLS[call]
    together = do(model, direction, PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        alone = do(model, direction, [prompt])
        if isinstance(together, list):
            assert together[row] == alone[0]
        else:
            torch.testing.assert_close(torch.as_tensor(together[row]), torch.as_tensor(alone[0]), atol=1e-4, rtol=1e-4)


def test_every_token_of_a_conversation_has_a_projection(model, direction):
    whole = rhat.projections(model, PROMPTS, direction, "all")
    lengths = [len(tokens) for tokens in model.tokenize(PROMPTS)]
    assert whole.shape == (2, max(lengths))
    assert (~whole.isnan()).sum(1).tolist() == lengths


def test_groups_and_evaluations_take_conversations(model, direction):
    assert attribute(model, direction, PROMPTS, PROMPTS[::-1]).contributions.abs().max() < 1e-5
    assert evaluate(model, direction, 0.0, PROMPTS, PROMPTS)["auroc"]["estimate"] == 0.5


def test_a_judge_reads_the_answer_to_the_last_turn():
    """A list of messages had been taken for a text."""
    answers = ["I'm sorry, but I can't help with that.", "Lake Titicaca."]
    assert judge_answers([TALK, TALK], answers) == judge_answers(["And a lake."] * 2, answers)


def test_thinking_is_one_call_and_its_switch_is_in_every_prompt():
    model = rhat.load((tiny_chat_model().hf, tiny_tokenizer(SWITCH)))
    thinking = model.with_thinking()
    assert (thinking.template.thinking, model.template.thinking) == (True, False)
    quiet, thoughtful = (model.tokenizer.decode(one.tokenize(["Hi"])[0]) for one in (model, thinking))
    assert (quiet.endswith("(no thoughts)"), thoughtful.endswith("(no thoughts)")) == (True, False)
    assert thinking.with_response_prefix("x").template.thinking
    assert thinking.with_thinking(False).tokenize(["Hi"]) == model.tokenize(["Hi"])
    assert thinking.template_length < model.template_length


def test_a_template_without_the_switch_says_so(model):
    with pytest.raises(TemplateError, match="has no switch for thinking"):
        model.with_thinking()
    assert model.with_thinking(False).tokenize(["Hi"]) == model.tokenize(["Hi"])
