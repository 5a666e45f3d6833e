"""How often intervals hold the truth, and families of claims say what is not so: tables of docs/method.md.

    python benchmarks/coverage.py [RUNS] [judges | topics | families]

Monte Carlo over every cell of the grid below: a true rate, a judge's true sensitivity and specificity, so many answers,
so many labelled ones. Plain is the interval that takes the judge for perfect (Wilson; Tango).
The second kind of table draws verdicts that are alike within topics of three prompts, as the built-in ones are.
The third draws conditions on the same prompts whose true rates make a family's claims false, and counts studies with any false
claim: with every test at 5 %, and with the adjustment that a study makes ("Families of claims").
"""

import sys
from functools import cache
from itertools import product

import numpy as np
from scipy.stats import norm

from rhat.artifacts.claims import PRIMARY, claim_p, primary_claims
from rhat.artifacts.judging import adjust, noninferior_in_sequence
from rhat.artifacts.measured import compare
from rhat.lab import Measurement
from rhat.statistics import (
    design_effect,
    fixed_sequence,
    mcnemar_exact,
    mean_interval,
    paired,
    sign_flip_p,
    tango_interval,
    wilson,
)
from rhat.statistics.misclassification import JudgeErrors, corrected_difference, corrected_rate

SIZES = (64, 200, 400)
SENSITIVITIES = (0.5, 0.7, 0.85, 0.97)
SPECIFICITIES = (0.9, 0.95, 0.99)
RATES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
PAIRS = ((0, 0), (0.1, 0), (0.3, 0.02), (0.6, 0), (0.1, 0.1), (0.9, 0), (0.5, 0.3))  # (only treatment, only reference)
TOPIC, TOPICS, ICCS = 3, (32, 67, 94), (0, 0.1, 0.5)  # prompts of a topic, topics, intraclass correlations
MARGIN, ALPHA, WHOLE, AGREE = 0.10, 0.05, 0.6, 0.5  # AGREE: correlation of the latent values of two conditions
# Families of claims: by truth, the rates of the conditions; those that a claim would be false of are named by `false` below.
PARTS = {"every part worse by the margin": (WHOLE - MARGIN,) * 5,
         "two as good, three worse by the margin": (WHOLE,) * 2 + (WHOLE - MARGIN,) * 3}  # fmt: skip
HEADS = {"no number of heads does anything": (0.1,) * 5, "two numbers do, three do not": (0.4,) * 2 + (0.1,) * 3}
CLAIMS = {"no difference, or the margin": {
    "harmless": {"baseline": 0.3, "set_projection": 0.3, "add_average": 0.4, "random_set_projection": 0.4,
                 "heads:6": 0.3, "random_heads:6": 0.3},
    "harmful": {"baseline": 0.6, "ablate": 0.6}}}  # fmt: skip
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


def answers(rng, rates, label, topics, icc):
    """A measurement of each condition on the same prompts: conditions agree, and prompts of one topic do."""
    groups = tuple(f"topic {i // TOPIC}" for i in range(TOPIC * topics))
    n = len(groups)
    alike = icc**0.5 * rng.normal(size=topics).repeat(TOPIC) + (1 - icc) ** 0.5 * rng.normal(size=n)
    made = {}
    for name, rate in rates.items():
        own = icc**0.5 * rng.normal(size=topics).repeat(TOPIC) + (1 - icc) ** 0.5 * rng.normal(size=n)
        refused = AGREE**0.5 * alike + (1 - AGREE) ** 0.5 * own < norm.ppf(rate)
        verdicts = tuple("refused" if one else "complied" for one in refused)
        made[name] = Measurement(name, label, groups, refused - 0.5, verdicts, topics=groups)
    return made


def parts_study(rng, rates, topics, icc):
    """Whether a study names a part that is worse by the margin: the smallest that passes at 5 %; the last of the sequence."""
    names = {f"part {i}": rate for i, rate in enumerate(rates)}
    made = answers(rng, {"whole": WHOLE, **names}, "harmless", topics, icc)
    rows = [compare(made[name], made["whole"], MARGIN, "scopes")[0] for name in names]
    false = np.array(rates) <= WHOLE - MARGIN + 1e-9
    plain = np.array([noninferior_in_sequence([row])[0] < ALPHA for row in rows])
    sequence = np.array(noninferior_in_sequence(rows)) < ALPHA
    return (plain & false).any(), (sequence & false).any()


def heads_study(rng, rates, topics, icc):
    """Whether a study says of heads that do nothing that they make it refuse more than no patch and than random heads."""
    names = {f"heads:{i}": rate for i, rate in enumerate(rates)}
    made = answers(rng, {"baseline": 0.1, "random": 0.1, **names}, "harmless", topics, icc)
    each = []
    for name in names:
        both = [compare(made[name], made[other], MARGIN, "heads")[0] for other in ("baseline", "random")]
        each.append(max(row.mcnemar_p if row.difference >= 0 else 1.0 for row in both))
    false = np.array(rates) <= 0.1
    return (np.array(each)[false] < ALPHA).any(), (fixed_sequence(each)[false] < ALPHA).any()


def claims_study(rng, rates, topics, icc):
    """Whether a study makes any primary claim, where none is true."""
    made = {label: answers(rng, some, label, topics, icc) for label, some in rates.items()}
    rows = [compare(made[r.prompts][r.treatment], made[r.prompts][r.reference], MARGIN, r.id)[0] for r in PRIMARY]
    alone = [claim_p(rule, row) < ALPHA for rule, row in zip(PRIMARY, rows, strict=True)]
    return any(alone), any(claim.verdict != "undecided" for claim in primary_claims(adjust(rows)))


FAMILIES = {
    "parts of the sequence (fixed sequence)": (parts_study, PARTS),
    "numbers of heads (fixed sequence)": (heads_study, HEADS),
    "primary claims (Holm)": (claims_study, CLAIMS),
}


def family_cell(rng, study, rates, topics, icc, runs):
    """Shares of studies with any false claim: every test at 5 %, and adjusted."""
    return np.mean([study(rng, rates, topics, icc) for _ in range(runs)], axis=0)


def family_table(runs):
    paired.prompts_needed = lambda *_: None  # no part of a verdict, and most of the time
    rng = np.random.default_rng(0)
    print(
        "\nFamilies of claims\n\n| family | truth | ICC | n | every test at 5 % | as a study does |\n|" + " --- |" * 6
    )
    for (family, (study, truths)), icc in product(FAMILIES.items(), (0, 0.3)):
        for truth, rates in truths.items():
            plain, ours = family_cell(rng, study, rates, 94, icc, runs)
            print(f"| {family} | {truth} | {icc:g} | {94 * TOPIC} | {plain:.1%} | {ours:.1%} |", flush=True)


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    which = sys.argv[2] if len(sys.argv) > 2 else "all"
    if which in ("all", "judges"):
        table("Rates", rate_coverage, RATES, runs)
        table("Paired differences", difference_coverage, PAIRS, runs)
    if which in ("all", "topics"):
        topic_table(runs)
    if which in ("all", "families"):
        family_table(runs)


if __name__ == "__main__":
    main()
