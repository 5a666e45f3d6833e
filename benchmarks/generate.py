"""A refusal-rate evaluation by generation, against transformers' generate; and that both say the same."""

from __future__ import annotations

from typing import Any

import torch
from measuring import Row, alternating, seconds
from subject import MODEL, Subject

TOKENS = 24


def measure(subject: Subject) -> list[Row]:
    """64 prompts, 24 tokens: rhat.scoring.refusals, and hf.generate on one left-padded batch in its default settings."""
    from rhat.scoring import refusals

    model, runs = subject.model, 1 if subject.quick else 3
    prompts = model.tokenize(subject.texts(16 if subject.quick else 64))
    times = alternating(
        {
            "rhat": lambda: refusals(model, prompts),
            "transformers": lambda: by_transformers(model.hf, model, prompts),
        },
        runs,
        warm=0 if subject.quick else 1,
    )
    verdicts = refusals(model, prompts)
    said = sum(len(c.tokens) for c in verdicts.completions)
    checked = same_tokens(subject, prompts[:8])
    ours, theirs = times["rhat"], times["transformers"]
    return [
        Row(
            "generate",
            f"refusal rate of {len(prompts)} prompts by generation, {TOKENS} tokens",
            seconds(ours.median),
            f"{seconds(theirs.median)} (transformers generate, one left-padded batch)",
            "≥ 2×",
            theirs.median / ours.median,
            limit=2,
            runs=runs,
            note=f"{verdicts.count('refused')} refused; in float32, {checked['same']} of {checked['rows']} rows produce "
            "identical tokens",
            details={"rhat": ours.said(), "transformers": theirs.said(), "tokens": said, "float32": checked},
        )
    ]


def by_transformers(hf: Any, model: Any, prompts: list[tuple[int, ...]]) -> list[list[int]]:
    """Greedy completions by hf.generate, everything else as it comes."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[model.pad_id] * (longest - len(p)) + list(p) for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    out = hf.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=TOKENS, do_sample=False, pad_token_id=model.pad_id
    )
    return out[:, longest:].tolist()


def same_tokens(subject: Subject, prompts: list[tuple[int, ...]]) -> dict[str, int]:
    """In float32: whether each row's tokens are transformers' as far as the row ran."""
    import rhat
    from rhat.scoring import refusals

    model = rhat.load(MODEL, dtype="float32")
    ours = refusals(model, prompts).completions
    theirs = by_transformers(model.hf, model, prompts)
    same = [list(c.tokens) == full[: len(c.tokens)] for c, full in zip(ours, theirs, strict=True)]
    return {"rows": len(prompts), "same": sum(same), "tokens": sum(len(c.tokens) for c in ours)}
