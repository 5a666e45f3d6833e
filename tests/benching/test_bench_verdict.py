"""The sentences of a bench, on answers that were made up: what they say follows from the rows, and turns round with them."""

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from rhat.benching.damage import Values, damage_of
from rhat.benching.document import BenchResults
from rhat.benching.making import comparisons_of, frontier_of
from rhat.benching.rows import Compared, Dose
from rhat.benching.tables import tables
from rhat.benching.verdict import FAMILY, judged
from rhat.lab.rows import rate_row
from studies import measured

N = 120
MODEL = {"name": "m", "n_layers": 3, "d_model": 16}
LABELS = {"induce": ("harmless",), "remove": ("harmful",), "over-refusal": ("borderline", "twin")}
PLAIN = {"harmless": 0.0, "harmful": 1.0, "borderline": 0.1, "twin": 0.9}
REFERENCE, RANDOM, LAT, ROTATE = "finder:mean_difference", "control:random", "finder:lat", "operator:rotate"


def answers(condition, label, share, n, kl=0.0):
    from dataclasses import replace

    m = measured(condition, label, [i < round(share * n) for i in range(n)])
    return replace(m, kl=np.linspace(0.5, 1.5, n) * kl)


def bench_of(shares, kls=(0.2,), n=N, tasks=tuple(LABELS)):
    """A bench of answers; condition → label → share refused; the reference's where nothing is said of an edit."""
    reference = {"harmless": 0.5, "harmful": 0.5, "borderline": 0.5, "twin": 0.9, **shares.get(REFERENCE, {})}
    given = {
        task: {
            label: {
                "baseline": answers("baseline", label, PLAIN[label], n),
                "prompting:strict": answers("prompting:strict", label, 0.7, n, 0.4),
            }
            | {
                f"{name}@{kl:g}": answers(f"{name}@{kl:g}", label, shares.get(name, {}).get(label, start[label]), n, kl)
                for kl in kls
                for name, start in ((REFERENCE, reference), (RANDOM, PLAIN), (LAT, reference), (ROTATE, reference))
            }
            for label in LABELS[task]
        }
        for task in tasks
    }
    comparisons, power = comparisons_of(given, kls, 0.10)
    dose = {"prompts": "harmless", "parameter": "coefficient", "op": "add", "n": 24, "ci_low": 0.1, "ci_high": 0.3}
    plain = {
        "sentence": "",
        "sentences": (),
        "rhat_version": "0",
        "model": MODEL,
        "layer": 1,
        "position": -1,
        "method": "mean_difference",
        "prompts_fingerprint": "f",
        "preset": "quick",
        "seed": 0,
        "margin": 0.10,
        "kl": kls,
        "tasks": tasks,
        "family": FAMILY,
        "compared": [Compared(condition="rule:published", part="rule", name="published", same_as=REFERENCE)],
        "doses": [
            Dose(condition=f"{LAT}@{kl:g}", task="induce", dose=1.0, kl=kl, kl_mean=1.05 * kl, within=True, **dose)
            for kl in kls
        ],
        "rates": [rate_row(m) for by in given.values() for some in by.values() for m in some.values()],
        "damage": damage_of(given),
        "frontier": frontier_of(given),
        "comparisons": comparisons,
        "power": power,
    }
    made = BenchResults.of(plain)
    return made.changed(**judged(made))


def said(found, start):
    """The sentence that begins so, and the one after it."""
    at = next(i for i, sentence in enumerate(found.sentences) if sentence.startswith(start))
    return found.sentences[at], found.sentences[at + 1]


def test_what_refuses_more_is_told_apart_from_what_refuses_less_and_swapped_data_swap_the_sentence():
    more = bench_of({LAT: {"harmless": 0.9}, ROTATE: {"harmless": 0.1}})
    less = bench_of({LAT: {"harmless": 0.1}, ROTATE: {"harmless": 0.9}})
    for found, first, second in ((more, "LAT", "r̂: rotate towards r̂"), (less, "r̂: rotate towards r̂", "LAT")):
        _, differences = said(found, "Inducing refusal, KL 0.20")
        assert differences.startswith(f"Refused more often than that with {first} +40.0 points [")
        assert f"; less often with {second} −40.0 points [" in differences
        assert f"refused more often with {first} (harmless, 0.20 nats), less often with {second}" in found.sentence
        assert "removing refusal: none of 2 comparisons shows a difference" in found.sentence


def test_many_differences_are_counted_in_the_first_sentence_and_named_in_the_others():
    found = bench_of({LAT: {"harmless": 0.1}, ROTATE: {"harmless": 0.1}}, kls=(0.05, 0.2, 1.0))
    assert "inducing refusal: less often in 6 comparisons, of 2 edits" in found.sentence
    assert "less often with LAT" not in found.sentence
    assert sum("LAT −40.0 points" in sentence for sentence in found.sentences) == 3


def test_chance_is_what_random_directions_do_and_goes_the_way_the_task_does():
    found = bench_of({})
    for start in ("Inducing refusal", "Removing refusal"):
        assert "; more than chance)" in said(found, start)[0]
    assert "chance" not in found.sentence.partition("over-refusal")[0]
    turned = bench_of({RANDOM: {"harmless": 0.5, "harmful": 0.5}})
    for start in ("Inducing refusal", "Removing refusal"):
        assert "not shown to be more than chance)" in said(turned, start)[0]
    wrong = bench_of(
        {REFERENCE: {"harmful": 1.0}, RANDOM: {"harmful": 0.5}}
    )  # refused more often than with random ones
    assert "not shown to be more than chance)" in said(wrong, "Removing refusal")[0]
    removing = wrong.sentence.partition("removing refusal")[2]
    assert "(the difference of means is not shown to do more than chance there)" in removing
    assert "chance" not in wrong.sentence.partition("removing refusal")[0]


def test_an_uneven_kl_is_compared_and_said_as_it_was_asked_for():
    from rhat.benching import BenchSettings

    [kl] = BenchSettings(kl=(1 / 3,)).kls
    assert kl == 0.333333
    found = bench_of({LAT: {"harmless": 0.9}}, kls=(kl,))
    assert "nothing was compared" not in found.sentence
    assert f"with LAT (harmless, {kl:g} nats)" in found.sentence


def test_few_prompts_are_undecided_and_many_alike_are_within_the_margin():
    few, many = bench_of({LAT: {"harmless": 0.75}}, n=8), bench_of({}, n=600)
    assert said(few, "Inducing refusal")[1] == "Undecided in 2 cases."
    assert said(many, "Inducing refusal")[1].startswith("Within ±10 points with LAT ")
    assert "inducing refusal: none of 2 comparisons shows a difference" in few.sentence


def test_a_task_is_one_family_over_every_kl_and_kind_of_prompts():
    found = bench_of({LAT: {"twin": 0.5}}, kls=(0.05, 0.2))
    rows = [row for row in found.comparisons if row.question == "bench_over_refusal"]
    assert len(rows) == 2 * 2 * 2  # edits, KL, kinds of prompts
    p = [row.mcnemar_p for row in rows]
    holm = multipletests(p, method="holm")[1]
    for row, adjusted in zip(rows, holm, strict=True):
        assert row.holm_p == pytest.approx(
            adjusted, rel=0.5, abs=1e-12
        )  # the two margins of each row are in the family too
        assert row.reference == f"{REFERENCE}@{row.treatment.rpartition('@')[2]}"
    assert not [row for row in found.comparisons if "prompting" in row.treatment + row.reference]
    assert len([row for row in found.comparisons if row.question == "bench_controls"]) == 4 * 2 * 3


def test_the_frontier_has_both_intervals_at_97_5_percent():
    found = bench_of({LAT: {"harmless": 0.3}})
    [row] = [row for row in found.frontier if (row.condition, row.prompts) == (f"{LAT}@0.2", "harmless")]
    assert (row.ci_low, row.ci_high) == pytest.approx(proportion_confint(36, N, alpha=0.025, method="wilson"))
    kl = np.linspace(0.5, 1.5, N) * 0.2
    half = t.ppf(1 - 0.0125, N - 1) * kl.std(ddof=1) / N**0.5
    assert (row.kl_low, row.kl_high) == pytest.approx((0.2 - half, 0.2 + half))
    assert {row.part for row in found.frontier} == {"none", "prompting", "finder", "operator", "control"}


def test_degenerate_answers_are_damage():
    from dataclasses import replace

    m = replace(answers("finder:lat@0.2", "harmless", 0.0, 10, 0.2), verdicts=("degenerate",) * 3 + ("complied",) * 7)
    rows = {row.measure: row for row in damage_of({"induce": {"harmless": {m.condition: m}}})}
    assert rows["degenerate"].value == pytest.approx(0.3)
    assert (rows["degenerate"].ci_low, rows["degenerate"].ci_high) == pytest.approx(
        proportion_confint(3, 10, method="wilson")
    )
    assert rows["kl"].value == pytest.approx(0.2)


def test_what_it_rests_on_is_said_of_the_rows():
    found = bench_of({})
    rest = " ".join(found.sentences)
    assert "1 dose of equal KL, each within 10 % of what was asked (at most 5.0 % away)." in rest
    assert "Chosen by the published rules is mean difference: measured once." in rest
    off = found.changed(doses=[found.doses[0].changed(kl_mean=0.3, within=False)])
    assert "not each within 10 % of what was asked (at most 50.0 % away)" in " ".join(judged(off)["sentences"])


def beside(shift, n=36):
    """Values of texts, and of questions, under no edit and under three; `shift` is that of each edit in nats, and in right answers."""
    rng = np.random.default_rng(0)
    nats, right = rng.normal(3.0, 0.3, n), np.arange(n) % 4 != 0
    found = {"cross_entropy_neutral": {"baseline": Values(nats, available=50)}, "capability": {}}
    found["capability"]["baseline"] = Values(right.astype(float))
    for i, (name, (more, fewer)) in enumerate(shift.items()):
        noise = np.random.default_rng(i + 1).normal(0, 0.1, n)
        found["cross_entropy_neutral"][f"{name}@0.2"] = Values(nats + more + noise, available=50)
        turned = np.where(np.cumsum(right) <= fewer, 0.0, right.astype(float))
        found["capability"][f"{name}@0.2"] = Values(turned)
    return found


def test_what_else_moves_is_one_family_of_paired_tests():
    rows = damage_of({}, {"induce": beside({REFERENCE: (0.5, 0), LAT: (0.04, 9), ROTATE: (0.0, 2)})})
    judged_rows = [row for row in rows if row.verdict is not None]
    assert len(judged_rows) == 6
    for row in judged_rows:
        if row.measure == "capability":
            lost = round(-row.difference * 36)
            assert row.p == pytest.approx(min(1.0, 2 * 0.5**lost))
    nats = [row for row in judged_rows if row.measure == "cross_entropy_neutral"]
    values = beside({REFERENCE: (0.5, 0), LAT: (0.04, 9), ROTATE: (0.0, 2)})["cross_entropy_neutral"]
    for row in nats:
        apart = values[row.condition].values - values["baseline"].values
        test = ttest_1samp(apart, 0)
        assert row.p == pytest.approx(test.pvalue)
        assert (row.difference_low, row.difference_high) == pytest.approx(tuple(test.confidence_interval()))
    holm = multipletests([row.p for row in judged_rows], method="holm")[1]
    for row, adjusted in zip(judged_rows, holm, strict=True):
        assert row.holm_p >= row.p
        assert row.holm_p == pytest.approx(adjusted, rel=0.5)  # both margins of shares are in the family too
    words = {(row.measure, row.condition.partition("@")[0]): row.verdict for row in judged_rows}
    assert words["cross_entropy_neutral", REFERENCE] == "better"
    assert words["capability", LAT] == "worse"
    assert words["capability", ROTATE] == "undecided"
    # alone the smallest shift would be a difference; among six tests it is none
    [small] = [row for row in nats if row.condition == f"{LAT}@0.2"]
    assert small.p < 0.05 <= small.holm_p
    assert small.verdict == "undecided"


def test_a_change_is_claimed_of_just_those_rows_that_are_judged_so():
    found = bench_of({})
    for shift, said in (
        ({REFERENCE: (0.5, 0), LAT: (-0.5, 9)}, ("higher under mean difference +0.", "; lower under LAT −0.")),
        ({REFERENCE: (-0.5, 9), LAT: (0.5, 0)}, ("higher under LAT +0.", "; lower under mean difference −0.")),
    ):
        made = found.changed(damage=[*found.damage, *damage_of({}, {"induce": beside(shift)})])
        sentences = judged(made)["sentences"]
        [nats] = [
            one for one in sentences if one.startswith("Inducing refusal, cross-entropy of neutral texts against")
        ]
        for part in said:
            assert part in nats
        assert "nats a token on 36 neutral texts)" in nats
        [right] = [one for one in sentences if one.startswith("Inducing refusal, questions answered rightly against")]
        lower = "LAT" if shift[LAT][1] else "mean difference"
        assert f"lower under {lower} −25.0 points [" in right
    nothing = found.changed(damage=[*found.damage, *damage_of({}, {"induce": beside({REFERENCE: (0.0, 0)})})])
    [nats] = [one for one in judged(nothing)["sentences"] if "neutral texts against" in one]
    assert nats.endswith(": undecided in 1 case.")
    [moved] = [table for table in tables(nothing) if "what else moves" in table.caption]
    assert moved.caption.endswith("against no edit (36 of 50 neutral texts, 36 questions)")
    assert len(moved.rows) == 2
