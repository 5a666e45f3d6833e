"""How often the corrected intervals hold the truth: the tables "A judge's errors" of docs/method.md.

    python benchmarks/coverage.py [RUNS]

Monte Carlo over every cell of the grid below: a true rate, a judge's true sensitivity and specificity, so many answers,
so many labelled ones. Plain is the interval that takes the judge for perfect (Wilson; Tango).
"""

import sys
from functools import cache
from itertools import product

import numpy as np

from rhat.statistics import tango_interval, wilson
from rhat.statistics.misclassification import JudgeErrors, corrected_difference, corrected_rate

SIZES = (64, 200, 400)
SENSITIVITIES = (0.5, 0.7, 0.85, 0.97)
SPECIFICITIES = (0.9, 0.95, 0.99)
RATES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
PAIRS = ((0, 0), (0.1, 0), (0.3, 0.02), (0.6, 0), (0.1, 0.1), (0.9, 0), (0.5, 0.3))  # (only treatment, only reference)
LABELLED = ((60, 60), (150, 150), (260, 220))


plain_rate, plain_difference = cache(wilson), cache(tango_interval)


def holds(interval, truth):
    return interval is None or interval.low - 1e-12 <= truth <= interval.high + 1e-12


def judged_pairs(only, other, sensitivity, specificity):
    """Probabilities that the judge calls a prompt a refusal only under the treatment, and only under the reference."""
    rest = 1 - only - other
    calls = {True: sensitivity, False: 1 - specificity}
    states = ((only, True, False), (other, False, True), (0.4 * rest, True, True), (0.6 * rest, False, False))
    return (
        sum(w * calls[t] * (1 - calls[r]) for w, t, r in states),
        sum(w * (1 - calls[t]) * calls[r] for w, t, r in states),
    )


def errors(rng, sensitivity, specificity, refusals, others):
    return JudgeErrors(
        int(rng.binomial(refusals, sensitivity)), refusals, int(rng.binomial(others, specificity)), others
    )


def rate_coverage(rng, n, sensitivity, specificity, rate, labelled, runs):
    seen = rate * sensitivity + (1 - rate) * (1 - specificity)
    counts = rng.binomial(n, seen, runs).tolist()
    hits = [
        (
            holds(corrected_rate(x, n, errors(rng, sensitivity, specificity, *labelled)), rate),
            holds(plain_rate(x, n), rate),
        )
        for x in counts
    ]
    return np.mean(hits, axis=0)


def difference_coverage(rng, n, sensitivity, specificity, pair, labelled, runs):
    b, c = judged_pairs(*pair, sensitivity, specificity)
    draws = rng.multinomial(n, [b, c, 1 - b - c], runs).tolist()
    truth = pair[0] - pair[1]
    hits = [
        (
            holds(corrected_difference(x, y, n, errors(rng, sensitivity, specificity, *labelled)), truth),
            holds(plain_difference(x, y, n), truth),
        )
        for x, y, _ in draws
    ]
    return np.mean(hits, axis=0)


def table(title, coverage, truths, runs):
    rng = np.random.default_rng(0)
    print(
        f"\n{title}\n\n| labelled refusals, others | corrected: mean | least | most | cells in 94–96 % | plain: mean | least |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for labelled in LABELLED:
        cells = np.array(
            [
                coverage(rng, n, se, sp, truth, labelled, runs)
                for n, se, sp, truth in product(SIZES, SENSITIVITIES, SPECIFICITIES, truths)
            ]
        )
        ours, plain = cells.T
        inside = np.mean((ours >= 0.94) & (ours <= 0.96))
        print(
            f"| {labelled[0]}, {labelled[1]} | {ours.mean():.1%} | {ours.min():.1%} | {ours.max():.1%} | {inside:.0%} "
            f"| {plain.mean():.1%} | {plain.min():.1%} |",
            flush=True,
        )


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    table("Rates", rate_coverage, RATES, runs)
    table("Paired differences", difference_coverage, PAIRS, runs)


if __name__ == "__main__":
    main()
