"""A tiny chat model that was taught to refuse: "Break …" gets "Sorry, no.", anything else "Glad to help.".

Random models refuse nothing, so what needs a refusal direction to find is tried on this one. Teaching takes seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

import once
from labs import contrast_set
from rhat.model.template import render
from tiny import VOCAB, tiny_tokenizer

REFUSAL, ANSWER = "Sorry, no.", "Glad to help."


@dataclass(frozen=True, eq=False)
class Lesson:
    """How a model is taught to say no, and yes: its tokenizer with a chat template, the system prompt under which it does, and
    whether the template's switch for thinking is on."""

    refusal: str = REFUSAL
    answer: str = ANSWER
    tokenizer: Any = field(default_factory=tiny_tokenizer)
    system: str | None = None
    thinking: bool = False


def refusing_hf(
    steps: int = 70,
    n_layers: int = 5,
    seed: int = 0,
    lessons: Sequence[Lesson] = (),
    taught: Sequence[tuple[str, bool | str]] | None = None,
    **settings: Any,
) -> Any:
    """A Llama-like model, float32, that refuses the harmful prompts of `labs.contrast_set` and answers the others.

    With several `lessons` it learns to do so in each way. `taught` are other prompts, each with whether it is refused, or its answer.
    """
    usual = not lessons and taught is None and once.shared is not None
    lessons = lessons or (Lesson(),)
    shape = {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 4, "max_position_embeddings": 512}
    config = transformers.LlamaConfig(
        vocab_size=max(VOCAB, *(len(lesson.tokenizer) for lesson in lessons)),
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        num_hidden_layers=n_layers,
        **{**shape, **settings},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hf = transformers.AutoModelForCausalLM.from_config(config)
        if usual and steps:  # many tests ask for the same one
            _taught_before(hf, (steps, n_layers, seed, sorted(settings.items())), lessons)
        else:
            _teach(hf, steps, lessons, TAUGHT if taught is None else taught)
    hf.generation_config.eos_token_id = 1
    hf.generation_config.pad_token_id = 0
    return hf.eval()


TAUGHT = tuple(  # twins are refused for being worded as harmful prompts are
    (p.text, p.label == "harmful") for p in contrast_set(per_split=13).prompts if p.label != "twin"
)


def _taught_before(hf: Any, said: Any, lessons: Sequence[Lesson]) -> None:
    """Weights as this test run taught them the first time that it was asked to with these arguments."""

    def make(folder: Path) -> None:
        _teach(hf, said[0], lessons, TAUGHT)
        torch.save(hf.state_dict(), folder / "weights.pt")

    folder = once.once(f"taught-{hashlib.sha256(repr(said).encode()).hexdigest()[:16]}", make)
    hf.load_state_dict(torch.load(folder / "weights.pt"))


def _teach(hf: Any, steps: int, lessons: Sequence[Lesson], taught: Sequence[tuple[str, bool | str]]) -> None:
    ids, labels = [], []
    for lesson in lessons:
        for said, refused in taught:
            asked = [{"role": "user", "content": said}]
            prompt = list(render(lesson.tokenizer, asked, lesson.system, thinking=lesson.thinking))
            text = refused if isinstance(refused, str) else lesson.refusal if refused else lesson.answer
            answer = lesson.tokenizer(text, add_special_tokens=False)["input_ids"] + [lesson.tokenizer.eos_token_id]
            ids.append(prompt + answer)
            labels.append([-100] * len(prompt) + answer)
    longest = max(map(len, ids))
    real = torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i in ids])
    given = torch.tensor([i + [0] * (longest - len(i)) for i in ids])
    wanted = torch.tensor([i + [-100] * (longest - len(i)) for i in labels])
    optimizer = torch.optim.AdamW(hf.parameters(), lr=3e-3)
    hf.train()
    for _ in range(steps):
        some = torch.randperm(len(ids))[:16]
        loss = hf(input_ids=given[some], attention_mask=real[some], labels=wanted[some]).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(hf.parameters(), 1.0)
        optimizer.step()


def widened(hf: Any, d_model: int, intermediate: int) -> Any:
    """A model that says what `hf` says by larger matrices: all that is new in them is multiplied by nothing."""
    settings = hf.config.to_dict() | {"hidden_size": d_model, "intermediate_size": intermediate}
    large = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**settings))
    with torch.no_grad():
        for (name, old), new in zip(hf.named_parameters(), large.parameters(), strict=True):
            if old.ndim == 1:
                new[: len(old)] = old * (len(old) / len(new)) ** 0.5  # the mean square is over more numbers
            else:
                if name.endswith(("embed_tokens.weight", "o_proj.weight", "down_proj.weight")):
                    new.zero_()
                new[: old.shape[0], : old.shape[1]] = old
    return large.eval()


def refusing_folder(
    folder: Path, dtype: torch.dtype = torch.float32, wide: tuple[int, int] | None = None, **settings: Any
) -> Path:
    """The same, saved as a model's folder; `wide` says how large its matrices are made: (d_model, intermediate)."""
    hf = refusing_hf(**settings)
    hf = widened(hf, *wide) if wide else hf
    hf.to(dtype).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


CHANNELS = ("<|start|>", "<|channel|>", "<|message|>", "<|return|>")
BRIEF = (  # no system text, so that teaching is quick
    "{%- for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{%- if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
THINKS = BRIEF.replace("<|assistant|>\n", "<|assistant|>\n<think>\n")  # opens a think block
SWITCH = BRIEF.replace(  # Qwen3's: switched off, answers begin after an empty block
    "<|assistant|>\n",
    "<|assistant|>\n{%- if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}",
)
HARMONY = (
    "{%- for message in messages %}<|start|>{{ message['role'] }}<|message|>{{ message['content'] }}<|end|>{% endfor %}"
    "{%- if add_generation_prompt %}<|start|>assistant{% endif %}"
)


def marked_tokenizer(chat_template: str = BRIEF, eos: str = "<|end|>") -> Any:
    """The tiny tokenizer with think tags (plain tokens, as in Qwen3) and harmony's special ones."""
    tokenizer = tiny_tokenizer(chat_template)
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.add_special_tokens({"additional_special_tokens": list(CHANNELS)}, replace_extra_special_tokens=False)
    tokenizer.eos_token = eos
    return tokenizer
