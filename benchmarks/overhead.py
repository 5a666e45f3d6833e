"""What an intervention costs while decoding: set_projection against nothing, in turn."""

from __future__ import annotations

import math
import statistics

from measuring import Row, alternating, seconds
from subject import Subject

TOKENS = 32


def measure(subject: Subject) -> list[Row]:
    """Pairs of runs, the order turned round every time; the interval is that of the mean log ratio of a pair."""
    from scipy.stats import t

    from rhat.generation import generate_tokens
    from rhat.interventions import set_projection

    model, pairs = subject.model, 4 if subject.quick else 14
    prompts = model.tokenize(subject.texts(8 if subject.quick else 32))
    edits = set_projection(subject.direction).edits(model)

    def run(what):
        return lambda: generate_tokens(model, prompts, what, max_new_tokens=TOKENS, ignore_eos=True)

    times = alternating({"none": run(None), "set": run(edits)}, pairs)
    logs = [math.log(a / b) for a, b in zip(times["set"].wall, times["none"].wall, strict=True)]
    mean, error = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(pairs)
    half = float(t.ppf(0.975, pairs - 1)) * error
    low, high = math.exp(mean - half), math.exp(mean + half)
    by_cpu = times["set"].cpu_median / times["none"].cpu_median
    return [
        Row(
            "overhead",
            f"generation under set_projection, {len(prompts)} prompts × {TOKENS} tokens",
            seconds(times["set"].median),
            f"{seconds(times['none'].median)} (no intervention)",
            "upper 95 % bound ≤ 1.05",
            high,
            limit=1.05,
            direction="at most",
            runs=pairs,
            note=f"ratio {math.exp(mean):.3f} (95 % interval {low:.3f} to {high:.3f}); by processor time {by_cpu:.3f}",
            details={
                "ratio": math.exp(mean),
                "interval": [low, high],
                "set": times["set"].said(),
                "none": times["none"].said(),
                "tokens_per_second": len(prompts) * TOKENS / times["set"].median,
            },
        )
    ]
