"""How often intervals hold the truth: the tables "A judge's errors" and "Prompts of one topic" of docs/method.md.

    python benchmarks/coverage.py [RUNS] [judges | topics]

Monte Carlo over every cell of the grid below: a true rate, a judge's true sensitivity and specificity, so many answers,
so many labelled ones. Plain is the interval that takes the judge for perfect (Wilson; Tango).
The second kind of table draws verdicts that are alike within topics of three prompts, as the built-in ones are.
"""

import sys
from functools import cache
from itertools import product

import numpy as np

from rhat.statistics import design_effect, mcnemar_exact, mean_interval, sign_flip_p, tango_interval, wilson
from rhat.statistics.misclassification import JudgeErrors, corrected_difference, corrected_rate

SIZES = (64, 200, 400)
SENSITIVITIES = (0.5, 0.7, 0.85, 0.97)
SPECIFICITIES = (0.9, 0.95, 0.99)
RATES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
PAIRS = ((0, 0), (0.1, 0), (0.3, 0.02), (0.6, 0), (0.1, 0.1), (0.9, 0), (0.5, 0.3))  # (only treatment, only reference)
TOPIC, TOPICS, ICCS = 3, (32, 67, 94), (0, 0.1, 0.5)  # prompts of a topic, topics, intraclass correlations
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


def alike(rng, share, topics, size, icc):
    """Verdicts of prompts whose topics have shares of their own: beta-binomial, with this intraclass correlation."""
    shares = np.full(topics, share)
    if icc:
        shares = rng.beta(share * (1 - icc) / icc, (1 - share) * (1 - icc) / icc, topics)
    return (rng.random((topics, size)) < shares[:, None]).ravel()


def topic_cell(rng, topics, icc, runs):
    """Coverage of a rate of 30 %, of the difference to one of 50 %, and of a mean; plain and by topic; and false p values below 5 %."""
    groups = np.repeat(np.arange(topics), TOPIC)
    n, hits = len(groups), np.zeros(8)
    for _ in range(runs):
        first, second, third = (alike(rng, share, topics, TOPIC, icc) for share in (0.3, 0.5, 0.3))
        d, none = second.astype(int) - first, third.astype(int) - first
        count, (b, c) = int(first.sum()), (int((d > 0).sum()), int((d < 0).sum()))
        scores = icc**0.5 * rng.normal(size=topics)[groups] + (1 - icc) ** 0.5 * rng.normal(size=n)
        hits += [
            holds(plain_rate(count, n), 0.3),
            holds(wilson(count, n, design_effect=design_effect(first, groups)), 0.3),
            holds(plain_difference(b, c, n), 0.2),
            holds(tango_interval(b, c, n, design_effect=design_effect(d, groups)), 0.2),
            holds(mean_interval(scores), 0),
            holds(mean_interval(scores, groups=groups), 0),
            mcnemar_exact(int((none > 0).sum()), int((none < 0).sum())) < 0.05,
            sign_flip_p(none, groups) < 0.05,
        ]
    return hits / runs


def topic_table(runs):
    rng = np.random.default_rng(0)
    print("\nTopics of three prompts\n\n| ICC | n | rate: plain | by topic | difference: plain | by topic | mean: plain | by topic "
          "| false p < 5 %: McNemar | sign flips |\n|" + " --- |" * 10)  # fmt: skip
    for icc, topics in product(ICCS, TOPICS):
        cells = " | ".join(f"{share:.1%}" for share in topic_cell(rng, topics, icc, runs))
        print(f"| {icc:g} | {TOPIC * topics} | {cells} |", flush=True)


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    which = sys.argv[2] if len(sys.argv) > 2 else "both"
    if which != "topics":
        table("Rates", rate_coverage, RATES, runs)
        table("Paired differences", difference_coverage, PAIRS, runs)
    if which != "judges":
        topic_table(runs)


if __name__ == "__main__":
    main()
