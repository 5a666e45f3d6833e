"""Try rhat on one kind of causal language model against plain transformers: what `find`, `ablate` and `heads` do on it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch

import rhat
from rhat.capture import captured
from rhat.directions import Direction
from rhat.errors import RhatError
from rhat.generation import generate_tokens
from rhat.heads import attribute
from rhat.model import ChatModel, last_logits
from rhat.model.layout import Layout
from rhat.model.plain import plain_last_logits
from rhat.sites import Site
from shrunk import NotBuilt, shrunk_hf
from tiny import tiny_tokenizer

TEXTS = ("Why is the river so wide today?", "Go", "Tell me the time")
TOLERANCE = 1e-3  # relative, float32: a wrong mask, position or state is far beyond
NEW = 4


@dataclass(frozen=True)
class Row:
    """What was tried on one kind of model.

    outcome   "works", "rejected" (by rhat.load, in one line), "not built", or "fault"
    said      why not; empty where it works
    """

    kind: str
    outcome: str
    architecture: str = ""
    said: str = ""
    find: str = ""
    ablate: str = ""
    heads: str = ""
    path: str = ""


class Fault(AssertionError):
    """rhat and plain transformers differ."""


def tried(kind: str) -> Row:
    """The kind's row. Raises what rhat must not raise."""
    tokenizer = tiny_tokenizer()
    ids = [tokenizer.apply_chat_template(chat(t), add_generation_prompt=True, return_dict=False) for t in TEXTS]
    try:
        hf = shrunk_hf(kind)
    except NotBuilt as error:
        return Row(kind, "not built", said=str(error))
    truth = by_transformers(hf, ids)
    name = type(hf).__name__
    try:
        model = rhat.load((hf, tokenizer))
    except RhatError as error:
        if "\n" in str(error):
            raise Fault(f"more than one line: {error}") from error
        return Row(kind, "rejected", name, str(error).removeprefix(f"{name}: ").removeprefix(f"{name} "))
    assert [list(p) for p in model.tokenize(TEXTS)] == ids
    agree(model, *truth)
    reads_and_adds(model)
    leaves_nothing(model)
    path = "fast" if model.fast else "plain" if model.supports_padding else "plain, one prompt at a time"
    return Row(kind, "works", name, "", "yes", reach(model.layout), _heads(model), path)


def chat(text: str) -> list[dict[str, str]]:
    """One instruction as a chat."""
    return [{"role": "user", "content": text}]


def by_transformers(hf: Any, prompts: list[list[int]]) -> tuple[torch.Tensor, list[tuple[int, ...]]]:
    """Logits after each prompt, and greedy answers, each prompt alone."""
    rows = [torch.tensor([p]) for p in prompts]
    with torch.no_grad():
        logits = torch.cat([hf(input_ids=row, use_cache=False).logits[:, -1] for row in rows])
        said = [hf.generate(input_ids=row, max_new_tokens=NEW, do_sample=False)[0, row.shape[1] :] for row in rows]
    return logits, [tuple(answer.tolist()) for answer in said]


def _error(got: torch.Tensor, truth: torch.Tensor) -> float:
    return float((got.double() - truth.double()).norm() / truth.double().norm())


def agree(model: ChatModel, alone: torch.Tensor, theirs: list[tuple[int, ...]]) -> None:
    """Logits after unequal prompts, and greedy answers, by both paths: those of transformers on each prompt alone."""
    prompts, plan = model.tokenize(TEXTS), model.plan(TEXTS)
    for path in (last_logits, plain_last_logits):
        found: dict[int, torch.Tensor] = {}
        for rows, logits in path(model, plan):
            found.update(zip(rows.tolist(), logits, strict=True))
        error = _error(torch.stack([found[i] for i in range(len(prompts))]), alone)
        if not error < TOLERANCE:
            raise Fault(f"{path.__name__}: logits differ by {error:.1e}")
    for slow in ("", "1"):
        with patch.dict(os.environ, {"RHAT_SLOW": slow}):
            mine = [c.tokens for c in generate_tokens(model, prompts, max_new_tokens=NEW)]
        if [t[: len(m)] for t, m in zip(theirs, mine, strict=True)] != mine:
            raise Fault(f"greedy answers {mine}, by transformers {theirs}")


def direction_of(model: ChatModel) -> Direction:
    """A random direction at the last block's input."""
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(1))
    site = Site("resid_pre", model.n_layers - 1)
    return Direction(vector / vector.norm(), site, -1, 1.0, 1.0, 0.0, model=model.describe())


def reads_and_adds(model: ChatModel) -> None:
    """What `find` needs: the last block's input at each prompt's last token, and what adding r̂ there does, are those of
    hooks on plain transformers."""
    r, seen, moved = direction_of(model), [], []
    block = model.layout.parts[-1].block
    add = rhat.add(r, 5.0)

    def before(_module: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else kwargs["hidden_states"]
        seen.append(x[0, -1].clone())
        x = x + 5.0 * r.unit
        return ((x, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": x})

    hook = block.register_forward_pre_hook(before, with_kwargs=True)
    with torch.no_grad():
        for p in model.tokenize(TEXTS):
            moved.append(model.hf(input_ids=torch.tensor([p]), use_cache=False).logits[:, -1])
    hook.remove()
    read, scored = torch.zeros(len(TEXTS), model.d_model), torch.zeros_like(torch.cat(moved))
    plan = model.plan(TEXTS)
    for rows, found in captured(model, plan, [r.site], [-1]):
        read[rows] = found[r.site][:, 0].float()
    for rows, logits in last_logits(model, plan, add.edits(model)):
        scored[rows] = logits
    for what, error in (("reading", _error(read, torch.stack(seen))), ("adding", _error(scored, torch.cat(moved)))):
        if not error < TOLERANCE:
            raise Fault(f"{what} at {r.site} differs by {error:.1e}")


def leaves_nothing(model: ChatModel) -> None:
    """Ablation moves the logits, and leaves nothing along r̂ in what any block is given or gives."""
    r, seen = direction_of(model), []
    ids = torch.tensor([model.tokenize(TEXTS)[0]])

    def given(_module: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        seen.append((args[0] if args else kwargs["hidden_states"]).clone())

    def gave(_module: Any, _args: tuple, out: Any) -> None:
        seen.append((out[0] if isinstance(out, (tuple, list)) else out).clone())

    with torch.no_grad():
        plain = model.hf(input_ids=ids, use_cache=False).logits
        with rhat.ablate(r).on(model):
            hooks = [p.block.register_forward_pre_hook(given, with_kwargs=True) for p in model.layout.parts]
            hooks += [p.block.register_forward_hook(gave) for p in model.layout.parts]
            ablated = model.hf(input_ids=ids, use_cache=False).logits
        for hook in hooks:
            hook.remove()
    if len(seen) != 2 * model.n_layers:
        raise Fault(f"{len(seen)} inputs and outputs of {model.n_layers} blocks")
    left = max(float((x @ r.unit).norm() / x.norm()) for x in seen)
    if not left < 1e-5:
        raise Fault(f"ablation leaves {left:.1e} of the stream along r̂")
    if not _error(ablated, plain) > 1e-4:
        raise Fault("ablation does not move the logits")


def reach(layout: Layout) -> str:
    """What ablation acts on."""
    blind = sum(parts.sum == "unaccounted" for parts in layout.parts)
    if blind:
        return "input and output of " + ("blocks" if blind == layout.n_layers else "some blocks")
    return "parts and output" if any(parts.sum == "post-norm" for parts in layout.parts) else "all parts"


def _heads(model: ChatModel) -> str:
    """Whether heads can be attributed and patched: in all blocks, some or none."""
    try:
        found = attribute(model, direction_of(model), TEXTS[:2], TEXTS[1:])
    except RhatError:
        return "some blocks" if any(p.attn_proj is not None for p in model.layout.parts) else "no"
    if not bool(found.contributions.isfinite().all()):
        raise Fault("heads: contributions are not finite")
    return "yes" if all(p.attn_proj is not None for p in model.layout.parts) else "some blocks"
