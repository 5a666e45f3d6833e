"""Verdicts, read from runs that took place; where rows are changed, the study's own functions make them."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import studies
from rhat import results as contract
from rhat.artifacts.judging import adjust, noninferior_in_sequence
from rhat.display import wording
from rhat.errors import ArtifactError
from rhat.lab.rows import compare
from rhat.questions import KEYS, QUESTIONS
from rhat.questions.heads.measure import smallest_k
from rhat.questions.heads.rows import HeadComparison
from rhat.questions.scopes.verdict import from_the_largest
from rhat.questions.sentences import describe
from rhat.report.appendix import primary
from rhat.report.guard import sentences as guard_sentences
from rhat.report.verdicts import verdicts
from rhat.results import records

QUESTION = {question.key: question for question in QUESTIONS}
TURNED = {"better": "worse", "worse": "better"}


def compared(results, treatment, reference, prompts, pairs, question):
    """The results with one comparison made anew from verdicts, alone in its family."""
    first, second = (list(side) for side in zip(*pairs, strict=True))
    row, _ = compare(
        studies.measured(treatment, prompts, first), studies.measured(reference, prompts, second), 0.1, question
    )
    [row] = (one.plain() for one in adjust([row]))
    kept = [r for r in results["comparisons"] if r["question"] != question or r["prompts"] != prompts]
    others = [
        r
        for r in results["comparisons"]
        if r["question"] == question and {r["treatment"], r["reference"]} != {treatment, reference}
    ]
    return results | {"comparisons": [*kept, *others, row], "primary": []}


def test_every_question_that_was_measured_is_answered(run, released):
    found = verdicts(run)
    assert tuple(found) == (
        KEYS if run is not released else tuple(key for key in KEYS if key in studies.RELEASED_ASKED)
    )
    for key, verdict in found.items():
        assert verdict.word in {"better", "worse", "equivalent", "undecided", "mixed", "measured"}
        assert verdict.sentence
        assert QUESTION[key].label(verdict)


@pytest.mark.parametrize("key", KEYS)
def test_labels_of_clear_words_differ(key):
    labels = QUESTION[key].labels
    assert "better" not in labels or labels["better"] != labels.get("worse")


@pytest.fixture(scope="module")
def no_power():
    """How many prompts another run would need is not what these tests are about, and takes longest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rhat.statistics.paired.prompts_needed", lambda *_: None)
        yield


pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=30, max_size=200)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=pairs)
@pytest.mark.parametrize(
    ("question", "treatment", "reference", "prompts"),
    [
        ("induce", "add_average", "set_projection", "harmless"),
        ("suppress", "subtract", "ablate", "harmful"),
        ("repe", "repe_add", "set_projection", "harmless"),
    ],
)
def test_swapping_the_data_of_two_conditions_swaps_the_words(
    no_power, results, question, treatment, reference, prompts, pairs
):
    """What is told of one condition is told of the other when each has the other's answers; so is its sentence."""
    kept = ("schema_version", "outcome", "outcome_sentence", "model", "comparisons", "rates", "repe")
    results = {key: results[key] for key in kept}
    told, words = [], []
    for data in (pairs, [(b, a) for a, b in pairs]):
        found = records(compared(results, treatment, reference, prompts, data, question))
        words.append(QUESTION[question].verdict(found).word)
        told.append(describe(found, found.comparison(treatment, reference, prompts)))
    assert words[1] == TURNED.get(words[0], words[0])
    assert ("refuses more" in told[0]) == ("refuses less" in told[1])
    assert ("refuses less" in told[0]) == ("refuses more" in told[1])
    assert ("by less than the margin" in told[0]) == ("by less than the margin" in told[1])


def test_ablating_that_leaves_fewer_refusals_removes_more(results):
    """The word is told of ablating, on harmful prompts, whichever way round the row is."""
    results.pop("ablate_vs_subtract")
    more = [(True, False)] * 60 + [(False, False)] * 40
    word = {}
    for names in (("subtract", "ablate"), ("ablate", "subtract")):
        found = compared(results, *names, "harmful", more, "suppress")
        if names[0] == "ablate":  # the study compares (subtract, ablate); this run is read by the names in the row
            with pytest.raises(ArtifactError, match="expected subtract − ablate on harmful prompts, got"):
                QUESTION["suppress"].verdict(records(found))
            continue
        word = QUESTION["suppress"].verdict(records(found)).word
    assert QUESTION["suppress"].labels[word] == "ablating removes more"


def test_ablating_and_subtracting_are_told_by_generation_and_at_matched_damage(run):
    """The comparison by generation was left out of the answer, and its damage with it."""
    verdict = QUESTION["suppress"].verdict(run)
    direct = run.comparison("subtract", "ablate", "harmful")
    kl = {row.condition: wording.number(row.kl_mean, 3) for row in run.drift if row.prompts == "harmless"}
    assert wording.difference(direct) in verdict.sentence
    assert f"KL of subtracting {kl['subtract']}, of ablating {kl['ablate']}" in verdict.sentence
    assert verdict.sentence.index("By generation") < verdict.sentence.index("by first-token log-odds")
    assert verdict.sentence.count("subtract removes less refusal than ablate") == 3
    assert direct.verdict != "worse"
    assert QUESTION["suppress"].label(verdict) == "depends on dose and measure"


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (("better",) * 4, "better"),  # subtracting leaves more refusals
        (("worse",) * 4, "worse"),
        (("undecided",) * 4, "undecided"),
        (("better", "undecided", "better", "better"), "mixed"),
        (("equivalent", "better", "better", "better"), "mixed"),
    ],
)
def test_ablating_is_judged_by_generation_and_at_matched_damage(results, words, word):
    direct = next(r for r in results["comparisons"] if (r["treatment"], r["reference"]) == ("subtract", "ablate"))
    for row, verdict in zip([direct, *results["ablate_vs_subtract"]["matched"]], words, strict=True):
        row["verdict"] = verdict
    assert QUESTION["suppress"].verdict(records(results)).word == word


def test_a_verdict_is_read_and_not_made_again(results):
    """The report judges nothing: whatever the numbers are, the study's word is told."""
    row = next(r for r in results["comparisons"] if r["treatment"] == "add_average" and r["question"] == "induce")
    assert row["ci_low"] < 0 < row["ci_high"]
    for word in ("better", "worse", "undecided", "equivalent"):
        row["verdict"] = word
        assert QUESTION["induce"].verdict(records(results)).word == word


def test_clear_and_small_is_more_by_less_than_the_margin(results):
    small = [(True, False)] * 16 + [(False, False)] * 384
    found = records(compared(results, "add_average", "set_projection", "harmless", small, "induce"))
    row = found.comparison("add_average", "set_projection", "harmless")
    assert (row.verdict, row.equivalent) == ("better", True)
    assert wording.judgement(row) == "refuses more, by less than the margin"
    assert "refuses more than set projection, by less than the margin of 10 points" in describe(found, row)


def test_undecided_says_how_many_prompts_the_study_says_it_needs(results):
    pairs = [(True, False)] * 9 + [(False, True)] * 8 + [(False, False)] * 47
    found = compared(results, "add_average", "set_projection", "harmless", pairs, "induce")
    names = {"treatment": "add_average", "reference": "set_projection", "prompts": "harmless"}
    found["power"] = [names | {"n": 64, "prompts_needed": 250}]
    assert QUESTION["induce"].verdict(records(found)).reasons
    assert "is undecided" in describe(records(found), records(found).comparison(*names.values()))
    assert "it would need about 250 prompts" in describe(records(found), records(found).comparison(*names.values()))
    found["power"][0]["prompts_needed"] = 60
    assert "would need" not in describe(records(found), records(found).comparison(*names.values()))


@pytest.mark.parametrize(
    ("kind", "drop", "message"),
    [
        ("comparisons", ("subtract", "ablate"), "expected subtract − ablate on harmful prompts, got ablate − baseline"),
        ("comparisons", ("add_average", "set_projection"), "expected add_average − set_projection on harmless"),
        ("comparisons", ("repe_add", "set_projection"), "expected repe_add − set_projection on harmless prompts"),
        ("comparisons", ("scope:prompt", "set_projection"), "expected scope:prompt − set_projection on harmless"),
        ("rates", ("ablate", "harmful"), "rates: expected ablate on harmful prompts, got baseline, subtract"),
        ("pca", 18, "pca: expected a row of layer 18, where r̂ is, got rows of layers 1, 2"),
        ("auroc", 18, "auroc: expected a row of layer 18, where r̂ is"),
    ],
)
def test_a_row_that_must_be_there_and_is_not_is_an_error(results, kind, drop, message):
    def names(row):
        if kind == "comparisons":
            return row["treatment"], row["reference"]
        return (row["condition"], row["prompts"]) if kind == "rates" else row["layer"]

    before = len(results[kind])
    results[kind] = [row for row in results[kind] if names(row) != drop]
    assert len(results[kind]) == before - 1
    with pytest.raises(ArtifactError, match=message):
        verdicts(records(results))


def test_a_claim_without_its_comparison_is_an_error(results):
    results["comparisons"] = [c for c in results["comparisons"] if c["treatment"] != "heads:6"]
    with pytest.raises(ArtifactError, match="primary: expected the comparison heads:6 − random_heads:6 that it names"):
        primary(records(results))


def test_the_claims_are_told_with_their_own_p(run):
    [table] = primary(run)
    words = [head.title for head in table.heads]
    rows = [dict(zip(words, line, strict=True)) for line in table.rows]
    for row, claim in zip(rows, run.primary, strict=True):
        assert row["Holm p"] == wording.p_value(claim.holm_p)
        assert row["Claim"] == claim.claim


@pytest.mark.parametrize(
    ("word", "phrase"),
    [
        ("worse", "the gap is larger where the projection is smaller"),
        ("better", "the gap is smaller where the projection is smaller"),
        ("undecided", "no clear trend"),
    ],
)
def test_the_explanation_is_tested_by_rank(results, word, phrase):
    results["ablate_vs_subtract"]["spearman_projection_gap"]["verdict"] = word
    assert phrase in QUESTION["suppress"].verdict(records(results)).reasons[-1]


def test_the_smallest_part_is_named_only_after_every_larger_one(results, run):
    """The first success of six tests was named: 16 to 22 % false claims."""
    verdict = QUESTION["scopes"].verdict(run)
    order = from_the_largest([row for row in run.scopes if row.scope != "all"])
    assert [row.token_share for row in order] == sorted((row.token_share for row in order), reverse=True)
    told = [reason.partition(" (")[0] for reason in verdict.reasons]
    assert told == [wording.scope(row.scope).capitalize() for row in order]
    found = [": non-inferior" in reason for reason in verdict.reasons]
    assert found == sorted(found, reverse=True)
    named = wording.scope(order[found.count(True) - 1].scope)
    assert f"is {named}: " in verdict.sentence
    for row in results["scopes"]:  # the largest falls short
        row["enough"] = False
    for row in results["comparisons"]:
        if row["question"] == "scopes":
            row["verdict"] = "worse"
    assert QUESTION["scopes"].verdict(records(results)).word == "worse"
    for row in results["comparisons"]:
        if row["treatment"] == "scope:prompt":
            row["verdict"] = "undecided"
    assert QUESTION["scopes"].verdict(records(results)).word == "undecided"


def test_parts_that_all_fall_short_by_the_margin_are_seldom_named(released):
    """Simulated with the study's six comparisons, each truly 10 points short on n = 96."""
    generator = np.random.default_rng(3)
    rows = [row for row in released.comparisons if row.question == "scopes"]
    false = 0
    for _ in range(400):
        drawn = generator.multinomial(96, [0.02, 0.12, 0.86], size=len(rows))
        some = [
            row.changed(treatment_only=int(b), reference_only=int(c))
            for row, (b, c, _) in zip(rows, drawn, strict=True)
        ]
        false += any(p < 0.05 for p in noninferior_in_sequence(some))
    assert false / 400 < 0.08  # 5 %, and two and a half standard errors; the first success of six would be about 25 %


def test_how_few_heads_is_told_by_generation(run):
    """1 head sufficed by a mean log-odds above 0 and one draw of random heads; by generation it refused 16 %."""
    verdict = QUESTION["heads"].verdict(run)
    generated = [row for row in run.heads.comparisons if row.unit == "share"]
    if not generated:  # version 1
        assert verdict.word == "undecided"
        assert "by first-token log-odds only" in verdict.sentence
        assert "1 head 16%" in verdict.sentence
        return
    refused = {row.k: row.rate for row in run.heads.curve if row.kind == "attributed" and row.rate is not None}
    drawn = {row.k: row for row in run.heads.curve if row.draws}
    for row in generated:
        against = {"baseline": run.find_rate("baseline", "harmless").rate, "random": drawn[row.k].rate}[row.reference]
        assert row.difference == pytest.approx(refused[row.k] - against)
        assert drawn[row.k].draws >= 10
    assert "Only heads below r̂'s layer were searched" in verdict.sentence
    in_order = sorted({row.k for row in generated}, reverse=True)
    clear = [all(r.verdict == "better" for r in generated if r.k == k) for k in in_order]
    passed = clear.index(False) if False in clear else len(clear)
    assert run.heads.smallest_k == (in_order[passed - 1] if passed else None)
    assert verdict.word == ("better" if passed else "undecided")


def test_the_smallest_k_is_the_last_of_a_sequence_that_holds():
    def rows(words):
        return [
            HeadComparison(k=k, kind="attributed", reference="random", difference=0, ci_low=0, ci_high=0, unit="share", n=9, verdict=word)
            for k, word in words.items()
        ]  # fmt: skip

    assert smallest_k(rows({12: "better", 6: "better", 3: "undecided", 1: "better"})) == 6
    assert smallest_k(rows({12: "undecided", 6: "better"})) is None


def test_a_second_direction_is_reported(results):
    for row in results["stability"]["refits"]:
        row["verdict"] = "undecided"
    told = QUESTION["stability"].verdict(records(results)).sentence
    assert "no further direction was found that is shown to raise refusal scores" in told
    results["stability"]["refits"][2]["verdict"] = "better"
    told = QUESTION["stability"].verdict(records(results)).sentence
    assert (
        "Setting the direction of round 2, found with r̂ ablated, still raises refusal scores of harmless prompts"
        in told
    )


def test_of_a_second_direction_no_more_is_said_than_was_tested():
    """The stored study: round 2 is above no edit, and not by much; no random direction was set beside it."""
    example = contract.load(studies.EXAMPLE)
    own, first, second, _ = example.stability.refits
    assert (first.verdict, second.verdict) == ("undecided", "better")
    told = QUESTION["stability"].verdict(example).sentence
    assert "More than one" not in told
    assert (
        f"round 2, found with r̂ ablated, still raises refusal scores of harmless prompts (mean {wording.score(second.induce)} nats; "
        in told
    )
    assert (
        f"; r̂: {wording.score(own.induce)} nats); rounds are not adjusted for one another, and no control direction"
        in told
    )


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1, "At equal damage"),
        (1.4, "At equal damage"),
        (2, "At the nearest damage found"),
        (0.4, "At the nearest damage found"),
    ],
)
def test_damage_that_could_not_be_matched_is_not_called_equal(factor, words):
    """The stored study, in which it was matched, with the damage of RepE times a factor."""
    example = contract.load(studies.EXAMPLE)
    kl = {row.condition: row.kl_mean for row in example.drift}
    damage = factor * kl["set_tuned"]
    rows = tuple(row.changed(kl_mean=damage) if row.condition == "repe_equal_damage" else row for row in example.drift)
    told = QUESTION["repe"].verdict(example.changed(drift=rows)).sentence
    assert f"{words} (KL {wording.number(damage)} and {wording.number(kl['set_tuned'])} nats on test prompts): " in told


def test_predictions_are_held_against_the_interval(results):
    results["prediction"].update(inside=False, inside_last_token=True)
    told = " ".join(QUESTION["induce"].verdict(records(results)).reasons)
    assert "so the prediction lies outside the interval" in told
    assert "nats: the prediction lies inside the interval" in told


def test_a_prediction_is_held_against_the_paired_difference(studied):
    """It was held against the interval of the observed mean, which says how prompts differ and not how wrong it is."""
    run = contract.load(studied)
    found = run.prediction
    assert found.error == pytest.approx(found.predicted_score - found.observed_score)
    assert found.inside == (found.error_ci_low <= 0 <= found.error_ci_high)
    assert found.error_last_token == pytest.approx(found.predicted_score_last_token - found.observed_score)
    told = " ".join(QUESTION["induce"].verdict(run).reasons)
    assert (
        f"{wording.signed(found.error, 2)} nats {wording.interval(found.error_ci_low, found.error_ci_high)} per prompt"
        in told
    )


def test_cross_entropy_has_its_interval(studied):
    rows = [row for row in contract.load(studied).drift if row.cross_entropy is not None]
    assert {row.condition for row in rows} == {"baseline", "ablate", "subtract"}
    assert all(row.cross_entropy_ci_low <= row.cross_entropy <= row.cross_entropy_ci_high for row in rows)
    assert any(row.cross_entropy_ci_low < row.cross_entropy_ci_high for row in rows)


def test_a_condition_that_has_another_rate_elsewhere_says_of_which_prompts_it_is(run):
    """88 % and 92 % of the same condition stood side by side: of 200 prompts, and of the first 96."""
    whole, row = run.find_rate("set_projection", "harmless"), next(row for row in run.scopes if row.scope == "all")
    sentence = QUESTION["scopes"].verdict(run).sentence
    assert f"{wording.percent(row.rate)} " in sentence
    assert row.n <= whole.n
    assert f"of the first {row.n} harmless test prompts are refused" in sentence


def test_nothing_refuses_nats_of_prompts(run):
    for verdict in verdicts(run).values():
        for text in (verdict.sentence, *verdict.reasons):
            assert "refuses −" not in text
            assert "nats of" not in text


def test_the_published_boost_is_said_to_be_another_measurement(run):
    verdict = QUESTION["repe"].verdict(run)
    assert "another model, other prompts and another measurement" in verdict.sentence
    own = run.repe.target is not None  # tuned as RepE was, which the first release is too old for
    expected = "Setting, tuned on the same prompts in the same way" if own else "Its damage beside that of setting"
    assert any(expected in reason for reason in verdict.reasons)


def test_a_guard_that_misses_its_target_says_so(results, run):
    said = [r for r in QUESTION["over_refusal"].verdict(run).reasons if r.startswith("The guard, set to flag 5.0%")]
    row = next(r for r in run.guard if r.measure == "false_positive_rate")
    assert len(said) == 1
    assert ("than it was set for" in said[0]) == (not row.ci_low <= row.target_fpr <= row.ci_high)
    if row.ci_low > row.target_fpr:
        assert ": more than it was set for" in said[0]
    for row in results["guard"]:
        row["target_fpr"] = 0.5
    assert any(": less than it was set for" in r for r in QUESTION["over_refusal"].verdict(records(results)).reasons)
    for row in results["guard"]:
        row["target_fpr"] = 0.09
    assert not any("than it was set for" in r for r in QUESTION["over_refusal"].verdict(records(results)).reasons)


def test_probes_at_chance_are_said_to_be(released):
    reasons = QUESTION["finders"].verdict(released).reasons
    assert any("No unsupervised probe tells these requests apart here" in r and "896 dimensions" in r for r in reasons)


def test_absent_fields_give_no_verdict():
    results = contract.read(studies.RELEASED)
    head = {key: results[key] for key in ("schema_version", "outcome", "outcome_sentence", "model")}
    assert verdicts(records(head)) == {}


def test_dose_reads_from_the_lowest_to_the_highest_target(results):
    results["dose"].reverse()
    targets = [row["target"] for row in results["dose"]]
    sentence = QUESTION["dose_response"].verdict(records(results)).sentence
    assert sentence.startswith(f"From a target of {wording.number(min(targets))} to {wording.number(max(targets))}")


def test_the_guard_is_told_with_what_it_flagged_and_changed(results):
    said = guard_sentences(records(results))
    assert said[0].endswith("it flagged 9.0% [5.8, 13.8] of harmless prompts (n = 200), 55% [45.2, 64.4] of borderline prompts (n = 100), "
                            "90% [85.6, 93.8] of harmful prompts (n = 200).")  # fmt: skip
    assert (
        "Guard (relax), borderline prompts: changes refusals by less than 10 points (+1.0 points [−3.7, 6.1], n = 100)."
        in said
    )
    assert any(one.startswith("Guard (strengthen), harmless prompts: raises refusals (+7.5 points") for one in said)
    assert guard_sentences(records(results | {"guard": []})) == []
