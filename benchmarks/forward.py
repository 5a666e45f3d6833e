"""One scoring forward pass under an intervention, as a share of what the machine's matrix products can do."""

from __future__ import annotations

from typing import Any

import torch
from measuring import Row, timed
from subject import Subject

PEAK_ROWS = 2048


def measure(subject: Subject) -> list[Row]:
    """Time scoring passes of 64 prompts under three edits, and the bare matrix products of the same model."""
    from rhat.interventions import ablate, set_projection
    from rhat.model.logits import last_logits

    model, runs = subject.model, 3 if subject.quick else 9
    plan = model.plan(subject.texts(64, "validation"))
    work = operations(model, plan)
    peak = matrix_peak(model, runs=3 if subject.quick else 7)
    direction = subject.direction
    edits = {
        "nothing": {},
        "set_projection": set_projection(direction).edits(model),
        "ablate": ablate(direction).edits(model),
    }
    passes = {}
    for name, edit in edits.items():
        times = timed(lambda edit=edit: list(last_logits(model, plan, edit)), runs=runs)
        passes[name] = times.said() | {
            "flops": work["flops"] / times.median,
            "share": work["flops"] / times.median / peak["flops"],
            "share_by_cpu": work["flops"] / times.cpu_median / peak["flops_by_cpu"],
        }
    main = passes["set_projection"]
    return [
        Row(
            "forward",
            "one scoring pass of 64 prompts under set_projection",
            f"{main['flops'] / 1e9:.0f} GFLOP/s",
            f"{peak['flops'] / 1e9:.0f} GFLOP/s (bare bf16 matrix products)",
            "≥ 60 % of peak",
            100 * main["share"],
            "%",
            60,
            runs=runs,
            note=f"{work['flops'] / 1e9:.0f} GFLOP required; ablating everywhere reaches "
            f"{100 * passes['ablate']['share']:.0f} %",
            details={"work": work, "peak": peak, "passes": passes},
        )
    ]


def shapes(model: Any) -> dict[tuple[int, int], int]:
    """(inputs, outputs) of the matrices of all blocks → how many there are."""
    found: dict[tuple[int, int], int] = {}
    for parts in model.layout.parts:
        for module in parts.block.modules():
            weight = getattr(module, "weight", None)
            if weight is not None and weight.ndim == 2:
                key = (weight.shape[1], weight.shape[0])
                found[key] = found.get(key, 0) + 1
    return found


def operations(model: Any, plan: Any) -> dict[str, Any]:
    """Operations that must be done for next-token logits of a plan (padding not counted), and bytes of weights read.

    2 · parameters of the blocks · tokens, plus attention's two products over the causal half, plus the head once a prompt.
    """
    in_blocks = sum(a * b * n for (a, b), n in shapes(model).items())
    suffix = sum(int(batch.lengths.sum()) for batch in plan.batches)
    padded = sum(batch.ids.numel() for batch in plan.batches)
    tokens = suffix + plan.prefix_length
    config = model.text_config
    width = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    lengths = [len(p) for p in plan.prompts]
    pairs = sum((n * (n + 1) - plan.prefix_length * (plan.prefix_length + 1)) // 2 for n in lengths)
    pairs += plan.prefix_length * (plan.prefix_length + 1) // 2
    head = config.vocab_size * config.hidden_size
    parts = {
        "blocks": 2 * in_blocks * tokens,
        "attention": 4 * width * pairs * model.n_layers,
        "head": 2 * head * len(plan),
    }
    return {
        "flops": sum(parts.values()),
        "parts": parts,
        "tokens": tokens,
        "tokens_with_padding": padded + plan.prefix_length,
        "tokens_of_whole_prompts": sum(lengths),
        "block_parameters": in_blocks,
        "head_parameters": head,
        "bytes_of_weights": 2 * (in_blocks * (1 + len(plan.batches)) + head * len(plan.batches)),
    }


def matrix_peak(model: Any, rows: int = PEAK_ROWS, runs: int = 7) -> dict[str, float]:
    """FLOP/s of torch's matrix products on the blocks' own shapes with many rows: the fastest and the median run."""
    found, total = [], 0
    for (inputs, outputs), count in shapes(model).items():
        some = min(count, 12)
        weights = [torch.randn(outputs, inputs).to(model.dtype) for _ in range(some)]
        x = torch.randn(rows, inputs).to(model.dtype)
        with torch.no_grad():
            times = timed(lambda x=x, weights=weights: [torch.nn.functional.linear(x, w) for w in weights], runs=runs)
        flops = 2 * rows * inputs * outputs * count
        total += flops
        scale = count / some
        found.append((min(times.wall) * scale, times.median * scale, times.cpu_median * scale))
    best, median, cpu = (sum(part) for part in zip(*found, strict=True))
    return {"flops": total / best, "flops_median": total / median, "flops_by_cpu": total / cpu, "rows": rows}


def bandwidth(runs: int = 5) -> float:
    """Bytes per second that reading a matrix as large as a vocabulary's reaches, by a matrix-vector product; the best run."""
    weight = torch.randn(150_000, 896).bfloat16()
    x = torch.randn(1, 896).bfloat16()
    with torch.no_grad():
        times = timed(lambda: torch.nn.functional.linear(x, weight), runs=runs)
    return weight.numel() * weight.element_size() / min(times.wall)
