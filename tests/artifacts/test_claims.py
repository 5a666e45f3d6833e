"""Claims: each by the p of its own test; held against plain counts of what a study kept prompt by prompt."""

import pyarrow.parquet
import pytest
from scipy import stats

import studies
from rhat import results as contract
from rhat.artifacts import claims
from rhat.artifacts.judging import adjust
from rhat.errors import ArtifactError
from rhat.lab.rows import compare
from rhat.statistics import holm


@pytest.fixture(params=["released", "example", "studied"], scope="module")
def run(request):
    folders = {"released": studies.RELEASED, "example": studies.EXAMPLE}
    return contract.load(folders.get(request.param) or request.getfixturevalue("studied"))


def test_an_equivalence_claim_carries_the_p_of_equivalence(run):
    """It carried McNemar's p of a difference, which is 1.000 where two conditions answer exactly alike."""
    rules = {rule.id: rule for rule in claims.PRIMARY}
    assert {"add_vs_set", "random_vs_baseline"} <= {c.id for c in run.primary} <= set(rules)
    for claim in run.primary:
        row = run.claimed(claim)
        assert claim.test == rules[claim.id].test
        assert claim.p == pytest.approx(claims.claim_p(rules[claim.id], row))
        if claim.test == "equivalent":
            assert (claim.p < 0.05) == (-row.margin < row.ci90_low and row.ci90_high < row.margin)
            assert f"{100 * row.margin:g} points" in claim.claim
        else:
            assert claim.p == pytest.approx(row.mcnemar_p) or claim.p == 1.0
    assert [c.holm_p for c in run.primary] == pytest.approx(holm([c.p for c in run.primary]))


def test_a_claim_says_what_its_adjusted_p_shows(run):
    word = {"more": "better", "less": "worse", "equivalent": "equivalent"}
    for claim in run.primary:
        assert claim.verdict == (word[claim.test] if claim.holm_p < 0.05 else "undecided")


def test_conditions_that_answer_alike_support_equivalence_and_others_do_not():
    def told(pairs):
        first, second = (list(side) for side in zip(*pairs, strict=True))
        names = "add_average", "set_projection"
        row, _ = compare(
            *(studies.measured(n, "harmless", s) for n, s in zip(names, (first, second), strict=True)), 0.1, "induce"
        )
        [claim] = claims.primary_claims(adjust([row]))
        return claim

    alike = told([(True, True)] * 100 + [(False, False)] * 100)
    assert (alike.verdict, alike.test) == ("equivalent", "equivalent")
    assert alike.holm_p < 0.001
    few = told([(True, True)] * 10 + [(False, False)] * 10)  # too few to show it
    assert few.verdict == "undecided"
    assert few.holm_p > 0.05
    apart = told([(True, False)] * 40 + [(False, False)] * 160)
    assert apart.verdict == "undecided"
    assert apart.holm_p > 0.9


def test_the_discordant_counts_are_those_of_the_prompts(studied):
    """Counted again from per_prompt.parquet, and McNemar's p by scipy's binomial."""
    run = contract.load(studied)
    found = pyarrow.parquet.read_table(studied / "per_prompt.parquet").to_pylist()
    refused = {(r["condition"], r["label"], r["prompt_id"]): r["verdict"] == "refused" for r in found if r["verdict"]}
    assert run.comparisons
    for row in run.comparisons:
        ids = [i for c, label, i in refused if (c, label) == (row.treatment, row.prompts)]
        both = [(refused[row.treatment, row.prompts, i], refused[row.reference, row.prompts, i]) for i in ids
                if (row.reference, row.prompts, i) in refused][: row.n]  # fmt: skip
        b, c = both.count((True, False)), both.count((False, True))
        assert (row.treatment_only, row.reference_only, row.n) == (b, c, len(both))
        assert row.mcnemar_p == pytest.approx(stats.binomtest(b, b + c).pvalue if b + c else 1.0)
        assert row.difference == pytest.approx((b - c) / row.n)


def test_the_table_is_in_the_results_by_its_fingerprint(studied):
    run = contract.load(studied)
    assert run.claims_fingerprint == claims.fingerprint(run.settings["margin"])
    assert claims.fingerprint(0.05) != claims.fingerprint(0.10)


def test_power_is_told_of_what_is_undecided_only(run):
    """Power after the fact was given for comparisons 83 points apart."""
    words = {row.names: row.verdict for row in run.comparisons}
    assert all(words[row.names] == "undecided" and row.power is None for row in run.power)


def test_a_claim_of_an_old_row_without_counts_is_an_error(run):
    rule = claims.PRIMARY[0]
    row = run.find_comparison(*rule.names).changed(treatment_only=None)
    with pytest.raises(ArtifactError, match="expected the counts treatment_only and reference_only"):
        claims.claim_p(rule, row)
