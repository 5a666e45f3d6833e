"""How often a study claims what is not so, and finds what is: the table "A null study" of docs/method.md.

    python benchmarks/null.py [STUDIES]

Each study is simulated prompt by prompt, with verdicts that are alike within topics, and goes through the functions that
judge a real one: rows, adjustment, claims. A study of permuted labels has a direction that means nothing, so no edit changes how often the
model refuses; a planted one refuses as the study promises to find. `prompts_needed`'s promise is held too: that
many prompts show the equivalence of conditions that do not differ in 80 % of studies.
"""

import sys
from itertools import product

import numpy as np

from rhat.artifacts.claims import PRIMARY, primary_claims
from rhat.artifacts.judging import adjust
from rhat.artifacts.measured import compare
from rhat.lab import Measurement
from rhat.statistics import paired, prompts_needed, wilson

MARGIN, TOPIC = 0.10, 3
ICCS = (0, 0.3)
QUESTION = {"set_vs_baseline": "induce", "add_vs_set": "induce", "random_vs_baseline": "induce",
            "ablate_vs_baseline": "suppress", "heads_vs_random": "heads"}  # fmt: skip
NULL = {"harmless": dict.fromkeys(("baseline", "set_projection", "add_average", "random_set_projection", "heads:6", "random_heads:6"), 0.3),
        "harmful": dict.fromkeys(("baseline", "ablate"), 0.6)}  # fmt: skip
PLANTED = {"harmless": NULL["harmless"] | {"set_projection": 0.6, "add_average": 0.6, "heads:6": 0.5},
           "harmful": {"baseline": 0.6, "ablate": 0.3}}  # fmt: skip
# Nothing is equivalent here: the worst case of the claims of equivalence is a difference of just the margin.
APART = {"harmless": NULL["harmless"] | {"add_average": 0.4, "set_projection": 0.3, "random_set_projection": 0.4},
         "harmful": NULL["harmful"]}  # fmt: skip


def study(rng, rates, topics, icc):
    """Comparisons and claims of one simulated study: each prompt refuses under a condition with a chance that its topic shifts."""
    measured, groups = {}, tuple(f"topic {i // TOPIC}" for i in range(TOPIC * topics))
    ids = tuple(f"prompt {i}" for i in range(len(groups)))
    for label, by_condition in rates.items():
        for name, rate in by_condition.items():
            shares = np.full(topics, rate)
            if icc:
                shares = rng.beta(rate * (1 - icc) / icc, (1 - rate) * (1 - icc) / icc, topics)
            refused = (rng.random((topics, TOPIC)) < shares[:, None]).ravel()
            verdicts = tuple("refused" if one else "complied" for one in refused)
            measured[name, label] = Measurement(name, label, ids, refused - 0.5, verdicts, topics=groups)
    rows = [
        compare(
            measured[rule.treatment, rule.prompts], measured[rule.reference, rule.prompts], MARGIN, QUESTION[rule.id]
        )[0]
        for rule in PRIMARY
    ]
    judged = adjust(rows)
    return judged, primary_claims(judged)


def true_words(rates, treatment, reference, prompts):
    """The words that would be true of a comparison."""
    gap = rates[prompts][treatment] - rates[prompts][reference]
    words = {"undecided"} | ({"better"} if gap > 1e-9 else {"worse"} if gap < -1e-9 else set())
    return words | ({"equivalent"} if abs(gap) < MARGIN - 1e-9 else set())


def counted(rng, rates, topics, icc, studies):
    """Studies with a false claim, with a false word in any comparison's question, and claims made, by id."""
    false_claims = false_words = 0
    made = dict.fromkeys((rule.id for rule in PRIMARY), 0)
    for _ in range(studies):
        rows, claims = study(rng, rates, topics, icc)
        false_claims += any(c.verdict not in true_words(rates, c.treatment, c.reference, c.prompts) for c in claims)
        # At most 5 % for each question; over all three together it may be more.
        false_words += any(r.verdict not in true_words(rates, *r.names) for r in rows if r.question == "induce")
        for claim in claims:
            made[claim.id] += claim.verdict != "undecided"
    return false_claims, false_words, made


def promised(rng, studies):
    """Studies that show the equivalence of two conditions that do not differ, at the prompts that `prompts_needed` names for 80 %."""
    rate, shown = 0.3, 0
    n = prompts_needed(2 * rate * (1 - rate), MARGIN)
    for _ in range(studies):
        one, other = (
            Measurement(name, "harmless", (), np.zeros(n), tuple(np.where(rng.random(n) < rate, "refused", "complied")))
            for name in ("add_average", "set_projection")
        )
        shown += adjust([compare(one, other, MARGIN, "induce")[0]])[0].verdict == "equivalent"
    return n, shown


def main():
    paired.prompts_needed = lambda *_: None  # no part of a verdict, and most of the time
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rng = np.random.default_rng(0)
    print(
        "| studies | ICC | n | with a false claim | with a false word (first question) | claims made |\n|"
        + " --- |" * 6
    )
    kinds = {"permuted labels": NULL, "apart by the margin": APART, "planted": PLANTED}
    for (name, rates), icc in product(kinds.items(), ICCS):
        claims, words, made = counted(rng, rates, 94, icc, studies)
        most = wilson(claims, studies)
        told = ", ".join(f"{key} {count / studies:.0%}" for key, count in made.items())
        print(
            f"| {studies} of {name} | {icc:g} | {94 * TOPIC} | {claims} (up to {most.high:.1%}) | {words} | {told} |",
            flush=True,
        )
    n, shown = promised(rng, studies)
    print(
        f"\nAt {n} prompts, the number predicted to show equivalence in 80 % of studies, {shown} of {studies} showed it."
    )


if __name__ == "__main__":
    main()
