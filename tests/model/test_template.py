"""Chat templates: the template's own tokens are found by comparing rendered prompts, whatever the template does."""

import pytest

import rhat
from rhat.errors import TemplateError
from rhat.model.template import make_template
from tiny import TEMPLATE, tiny_hf, tiny_tokenizer

# Qwen3's form: with thinking switched off the answer begins after an empty think block.
THINKING = (
    "{%- for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|assistant|>\n"
    "{%- if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
# DeepSeek-R1's form: thinking cannot be switched off, and the prompt opens the block.
ALWAYS_THINKING = (
    "{%- for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}"
    "{%- if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
)
# Gemma's and Mistral's: no system role.
NO_SYSTEM = (
    "{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{%- for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] | trim }}<|end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
# Llama 3's: today's date before the instruction.
DATED = (
    "<|system|>\nToday Date: {{ strftime_now('%d %b %Y') }}<|end|>\n"
    "{%- for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def made(template, **given):
    tokenizer = tiny_tokenizer(template)
    return make_template(tokenizer, "tiny", **given), tokenizer


def after_instruction(template):
    """The text of the template's tokens after the instruction."""
    found, tokenizer = made(template)
    return tokenizer.decode(found.render("Name a river.")[-found.length :])


@pytest.mark.parametrize(
    ("template", "tail"),
    [
        (TEMPLATE, "<|end|>\n<|assistant|>\n"),
        (THINKING, "<|end|>\n<|assistant|><think>\n\n</think>\n\n"),
        (ALWAYS_THINKING, "<|assistant|><think>\n"),
        (NO_SYSTEM, "<|end|>\n<|assistant|>\n"),
        (DATED, "<|end|>\n<|assistant|>\n"),
    ],
)
def test_what_follows_the_instruction_is_found(template, tail):
    assert after_instruction(template) == tail


@pytest.mark.parametrize("instruction", ["Name a river.", "x", "7 >> 2\n", "Is it “so”? ", "<think>"])
def test_every_prompt_ends_in_those_tokens(instruction):
    for template in (TEMPLATE, THINKING, ALWAYS_THINKING, DATED):
        found, _ = made(template)
        assert found.render(instruction)[-found.length :] == found.render("Name a river.")[-found.length :]


def test_a_thinking_model_answers_after_the_empty_think_block():
    model = rhat.load((tiny_hf("qwen3"), tiny_tokenizer(THINKING)))
    [prompt] = model.tokenize(["Name a river."])
    assert model.tokenizer.decode(prompt).endswith("<think>\n\n</think>\n\n")
    assert model.template_length == len(model.tokenizer("<|end|>\n<|assistant|><think>\n\n</think>\n\n")["input_ids"])
    assert model.plan(["Name a river.", "Why?"]).template_length == model.template_length


def test_a_date_is_a_part_of_the_shared_prefix():
    """It is before the instruction: r̂'s positions, counted from the end, are the same on every day."""
    model = rhat.load((tiny_hf("llama"), tiny_tokenizer(DATED)))
    today = model.plan(["Name a river.", "Why?"])
    assert "Today Date: " in model.tokenizer.decode(today.prefix[0])
    assert model.template_length == 4


def test_a_system_prompt_is_put_first():
    found, tokenizer = made(TEMPLATE, system="Answer in rhyme.")
    assert tokenizer.decode(found.render("Why?")).startswith("<|system|>\nAnswer in rhyme.<|end|>\n")
    assert "Be brief." not in tokenizer.decode(found.render("Why?"))


def test_no_system_role():
    assert made(NO_SYSTEM)[0].length == 4
    with pytest.raises(TemplateError, match=r"cannot take a system prompt \(System role not supported\); leave"):
        made(NO_SYSTEM, system="Answer in rhyme.")


def test_a_base_model_needs_a_template_by_hand(tmp_path):
    with pytest.raises(TemplateError, match="tiny: this model has no chat template, so it is probably a base model"):
        made(None)
    file = tmp_path / "plain.jinja"
    file.write_text("{% for m in messages %}Q: {{ m.content }}\n{% endfor %}A:")
    found, tokenizer = made(None, chat_template=file)
    assert tokenizer.decode(found.render("Why?")) == "Q: Why?\nA:"
    with pytest.raises(TemplateError, match=r"missing\.jinja: cannot read the chat template \(No such file"):
        made(None, chat_template=tmp_path / "missing.jinja")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "puts no token between the instruction and the answer"),
        ("<|user|>\n<|assistant|>\n", "leaves the instruction out"),
        ("{{ messages.oops.oops }}", "the chat template failed: .*; give a working one with --chat-template FILE"),
    ],
)
def test_templates_that_cannot_be_used(template, said):
    with pytest.raises(TemplateError, match=said):
        made(template)
