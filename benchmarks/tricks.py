"""What each part of the fast path brings: the same work with that part switched off."""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from measuring import Row, alternating, seconds
from subject import Subject


def measure(subject: Subject) -> list[Row]:
    """Every part against itself switched off, in turn."""
    runs = 1 if subject.quick else 2
    found = {}
    for name, (on, off) in works(subject).items():
        times = alternating({"on": on, "off": off}, runs)
        subject.say(f"{name}: {seconds(times['on'].median)} with, {seconds(times['off'].median)} without")
        found[name] = {
            "ratio": times["off"].median / times["on"].median,
            "cpu_ratio": times["off"].cpu_median / times["on"].cpu_median,
            "on": times["on"].said(),
            "off": times["off"].said(),
        }
    return [
        Row(
            "tricks",
            "parts of the fast path against themselves switched off",
            "; ".join(f"{name} {one['ratio']:.2f}×" for name, one in found.items()),
            "–",
            "",
            runs=runs,
            details={"parts": found},
        )
    ]


def works(subject: Subject) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Name of a part → (the work with it, the work without)."""
    from rhat.capture import capture, captured
    from rhat.generation import generate_tokens
    from rhat.interventions import Intervention, set_projection
    from rhat.model import cache_clean_run
    from rhat.model.allocator import keep_freed_memory
    from rhat.model.conditions import last_logits_under
    from rhat.model.logits import last_logits
    from rhat.model.plans import plan
    from rhat.model.positions import Scope
    from rhat.scoring import refusals
    from rhat.sites import Site

    model, n = subject.model, 16 if subject.quick else 64
    prompts = model.tokenize(subject.texts(n, "validation"))
    many = model.tokenize(subject.texts(32 if subject.quick else 256, "train"))
    whole = plan(prompts, model.template_length)
    apart = plan(prompts, model.template_length, share_prefix=False)
    layer = model.n_layers // 2
    base = cache_clean_run(model, whole, [layer])
    add = Intervention("add", subject.direction.unit, layer, 1.0).edits(model)
    edits = set_projection(subject.direction).edits(model)
    keys = cache_clean_run(model, whole, [layer], keep_kv=True)
    ends = Intervention("add", subject.direction.unit, layer, 1.0, scope=Scope("last_prompt_token")).edits(model)

    def score(the_plan: Any, edit: Any = edits, kept: Any = None) -> Callable[[], Any]:
        return lambda: [None for _ in last_logits(model, the_plan, edit, kept)]

    by_length = plan(many, model.template_length, max_rows=32)
    mixed = shuffled(many, model.template_length, 32)

    def slowly() -> None:
        with environment(RHAT_SLOW="1"):
            score(whole)()

    def padded() -> None:
        with filled(model):
            score(whole)()

    few = plan(prompts[:8], model.template_length)  # a block of early stopping, and the candidates of a layer
    kept = cache_clean_run(model, few, [layer])
    added = [Intervention("add", subject.direction.unit, layer, float(c)).edits(model) for c in range(1, 6)]

    def forgetting() -> None:
        release_freed_memory()
        try:
            score(whole)()
        finally:
            keep_freed_memory()

    reading = [Site("resid_pre", layer)]

    return {
        "shared prefix": (score(whole), score(apart)),
        f"resuming at layer {layer}": (score(whole, add, base), score(whole, add)),
        "last-position logits": (score(whole), lambda: all_logits(model, whole, edits)),
        "batching by length": (score(by_length), score(mixed)),
        "MLPs without padding": (score(whole), padded),
        "five candidates of a layer in one pass, 8 prompts": (
            lambda: [None for _ in last_logits_under(model, few, added, kept)],
            lambda: [None for edit in added for _ in last_logits(model, few, edit, kept)],
        ),
        "one batch of many rows": (score(whole), score(plan(prompts, model.template_length, max_rows=8))),
        "freed memory retained": (score(whole), forgetting),
        f"capture stops at layer {layer}": (
            lambda: [None for _ in captured(model, whole, reading, [-1])],
            lambda: capture(model, whole, reading, [-1], lambda *_: None),
        ),
        "last token only, if only it is edited": (score(whole, ends, keys), score(whole, ends, base)),
        "argmax in blocks": (
            lambda: generate_tokens(model, prompts, max_new_tokens=8, ignore_eos=True),
            lambda: generate_tokens(
                model, prompts, max_new_tokens=8, ignore_eos=True, choose=lambda logits, _: logits.argmax(-1)
            ),
        ),
        "early stop at the verdict": (
            lambda: refusals(model, prompts),
            lambda: refusals(model, prompts, stop_early=False),
        ),
        "all of these (RHAT_SLOW=1)": (score(whole), slowly),
    }


def shuffled(prompts: list[tuple[int, ...]], template_length: int, most: int) -> Any:
    """A plan whose batches are made in random order instead of by length, with the same shared prefix."""
    from rhat.model import plans

    ordered = plans.plan(prompts, template_length)
    order = random.Random(0).sample(range(len(prompts)), len(prompts))
    batches = []
    for begin in range(0, len(order), most):
        group = order[begin : begin + most]
        rows = [prompts[i] for i in group]
        batches.append(plans.make_batch(rows, group, ordered.prefix_length, template_length, "cpu"))
    return replace(ordered, batches=tuple(batches))


def all_logits(model: Any, the_plan: Any, edits: Any) -> None:
    """The scoring pass with the head applied to every token, as a model that is called in the usual way does."""
    import rhat.model.prefill as module
    from rhat.model.passes import lm_head

    kept: list[Any] = []
    original = module.run_tokens

    def keeping(*args: Any, **options: Any) -> Any:
        kept.append(original(*args, **options))
        return kept[-1]

    module.run_tokens = keeping
    try:
        for _ in module.prefill(model, the_plan, edits):
            with torch.no_grad():
                lm_head(model, kept.pop().hidden.flatten(0, 1))
    finally:
        module.run_tokens = original


@contextmanager
def filled(model: Any) -> Iterator[None]:
    """MLPs run the padding too."""
    before = model.tokenwise_mlps
    model.__dict__["tokenwise_mlps"] = ()
    try:
        yield
    finally:
        model.__dict__["tokenwise_mlps"] = before


def release_freed_memory() -> None:
    """Let glibc give memory back as it does once it has adapted itself: blocks above 32 MiB are mapped, ends above 64 MiB go."""
    from rhat.model import allocator

    libc = ctypes.CDLL(None)
    libc.mallopt(allocator._M_MMAP_THRESHOLD, 2**25)
    libc.mallopt(allocator._M_TRIM_THRESHOLD, 2**26)
    libc.malloc_trim(0)


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Environment variables inside the `with`."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
