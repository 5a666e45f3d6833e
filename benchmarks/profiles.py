"""Where the time goes: torch's profiler on the scoring pass and on the decode loop, and the limits they are held against."""

from __future__ import annotations

from typing import Any

import torch
from forward import bandwidth, matrix_peak, operations, shapes
from measuring import Row, timed
from subject import Subject

KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::addmm_", "aten::addmv_", "aten::mv"),
    "attention": ("aten::_scaled_dot_product_flash_attention_for_cpu", "aten::_softmax"),
    "silu and products": ("aten::silu", "aten::mul", "aten::mul_"),
    "copies": ("aten::copy_", "aten::cat", "aten::clone", "aten::fill_", "aten::index", "aten::_index_put_impl_"),
    "sums and powers (norms)": (
        "aten::add",
        "aten::add_",
        "aten::sum",
        "aten::mean",
        "aten::pow",
        "aten::rsqrt",
        "aten::sub",
    ),
}


def measure(subject: Subject) -> list[Row]:
    """Shares of processor time by kind of operation; decode step times against bytes read."""
    model = subject.model
    peak, speed = matrix_peak(model, runs=3), bandwidth()
    scoring = scoring_profile(subject)
    steps = {rows: decode_step(subject, rows) for rows in ((8, 16) if subject.quick else (1, 8, 16, 32, 64))}
    weights = 2 * (sum(a * b * n for (a, b), n in shapes(model).items()) + _head(model))
    flops = weights  # 2 operations for each 2-byte parameter, a row
    decoding = {
        "weight_bytes": weights,
        "flops_per_row": flops,
        "bandwidth": speed,
        "peak": peak["flops"],
        "steps": {
            str(rows): {
                **step,
                "limit": max(weights / speed, flops * rows / peak["flops"]),
                "bound_by": "bytes" if weights / speed > flops * rows / peak["flops"] else "operations",
            }
            for rows, step in steps.items()
        },
    }
    largest = max(steps)
    return [
        Row(
            "profile",
            f"decode step of {largest} rows",
            f"{steps[largest]['seconds'] * 1000:.0f} ms",
            f"{decoding['steps'][str(largest)]['limit'] * 1000:.0f} ms (limit by {decoding['steps'][str(largest)]['bound_by']})",
            "",
            runs=1,
            note=f"a scoring pass spends {100 * scoring['shares']['matrix products']:.0f} % in matrix products",
            details={"scoring": scoring, "decoding": decoding},
        )
    ]


def _head(model: Any) -> int:
    return model.text_config.vocab_size * model.d_model


def shares(work: Any) -> dict[str, float]:
    """Share of self processor time by kind of operation."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as run:
        work()
    events = {event.key: event.self_cpu_time_total for event in run.key_averages()}
    total = sum(events.values())
    found = {kind: sum(events.get(name, 0.0) for name in names) / total for kind, names in KINDS.items()}
    return {**found, "rest": 1 - sum(found.values())}


def scoring_profile(subject: Subject) -> dict[str, Any]:
    """The scoring pass of 64 prompts under set_projection."""
    from rhat.interventions import ablate, set_projection
    from rhat.model.logits import last_logits

    model = subject.model
    plan = model.plan(subject.texts(64, "validation"))
    edits = set_projection(subject.direction).edits(model)
    everywhere = ablate(subject.direction).edits(model)
    list(last_logits(model, plan, edits))
    return {
        "shares": shares(lambda: list(last_logits(model, plan, edits))),
        "shares_ablating": shares(lambda: list(last_logits(model, plan, everywhere))),
        "work": operations(model, plan),
    }


def decode_step(subject: Subject, rows: int) -> dict[str, Any]:
    """Seconds of one decode step of so many rows, and its shares."""
    from rhat.generation import Engine, Request

    model = subject.model
    prompts = model.tokenize(subject.texts(rows))
    engine = Engine(model, n_slots=rows, max_length=max(map(len, prompts)) + 80)
    engine.add([Request(tuple(p), 64, row=i, ignore_eos=True) for i, p in enumerate(prompts)])
    with torch.no_grad():
        times = timed(engine.step, runs=5 if subject.quick else 15, warm=2)
        return {
            "seconds": times.median,
            "cpu": times.cpu_median,
            "shares": shares(lambda: [engine.step() for _ in range(5)]),
        }
