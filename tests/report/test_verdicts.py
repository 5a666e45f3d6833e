from pathlib import Path

import pytest
import synthetic_results
from synthetic_results import comparison, share

from rhat.artifacts import results as contract
from rhat.artifacts.upgrade import upgrade
from rhat.errors import ArtifactError
from rhat.report import page, tables, verdicts

EXAMPLE = Path(__file__).parents[2] / "docs" / "example"


def only(results, *rows):
    """Results whose only comparisons are these, and whose only rates those of the conditions compared."""
    measured = {(name, row["prompts"]) for row in rows for name in (row["treatment"], row["reference"])}
    rates = [row for row in results["rates"] if (row["condition"], row["prompts"]) in measured]
    return upgrade({**results, "comparisons": list(rows), "rates": rates, "primary": []})


@pytest.mark.parametrize(
    ("difference", "se", "word", "phrase"),
    [
        (0.12, 0.02, "better", "Add mean refuses more than set projection (+12.0 points"),
        (-0.12, 0.02, "worse", "Add mean refuses less than set projection (−12.0 points"),
        (0.01, 0.02, "equivalent", "equivalent within 10 points (+1.0 points"),
        (-0.05, 0.06, "undecided", "is undecided (−5.0 points"),
    ],
)
def test_adding_is_judged_by_its_interval(results, difference, se, word, phrase):
    results = only(results, comparison("add_average", "set_projection", difference, se=se))
    verdict = verdicts.adding(results)
    assert verdict.word == word
    assert phrase in verdict.sentence


def test_a_clear_but_small_difference_says_that_it_is_inside_the_margin(results):
    row = comparison("add_average", "set_projection", -0.04, se=0.01)
    row = only(results, row)["comparisons"][0]
    assert "refuses less than set projection, by less than the margin of 10 points" in verdicts.describe(results, row)
    assert tables.refusals(row) == "refuses less, by less than the margin"


def test_the_studys_own_power_goes_first(results):
    row = comparison("add_average", "set_projection", 0.0, se=0.08, n=64)
    power = {key: row[key] for key in ("treatment", "reference", "prompts", "n")} | {"prompts_needed": 410}
    assert "about 410 prompts" in verdicts.adding({**only(results, row), "power": [power]}).sentence


@pytest.mark.parametrize(("value", "inside"), [(-0.3, "lies inside"), (1.0, "lies outside")])
def test_prediction_is_held_against_the_interval(results, value, inside):
    results["prediction"]["predicted_score"] = value
    assert any(inside in reason for reason in verdicts.adding(upgrade(results)).reasons)


def test_the_verdict_of_a_row_is_what_is_told(results):
    """The report judges nothing: it reads what the study wrote."""
    results = only(results, comparison("add_average", "set_projection", -0.12))
    assert verdicts.adding(results).word == "worse"
    results["comparisons"][0]["verdict"] = "undecided"
    assert verdicts.adding(results).word == "undecided"


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.9, 0.99, "better"), (0.45, 0.6, "undecided"), (0.2, 0.4, "worse")]
)
def test_separation_is_held_against_chance(results, low, high, word):
    for row in results["auroc"]:
        row.update(auroc=(low + high) / 2, ci_low=low, ci_high=high)
    assert verdicts.projections(upgrade(results)).word == word


@pytest.mark.parametrize(
    ("ends", "word"),
    [
        (((0.1, 0.3), (0.1, 0.3)), "better"),  # subtracting leaves more refusals
        (((-0.3, -0.1), (-0.3, -0.1)), "worse"),
        (((-0.1, 0.1), (-0.1, 0.1)), "undecided"),
        (((-0.1, 0.1), (0.1, 0.3)), "mixed"),
    ],
)
def test_ablating_is_judged_at_matched_damage(results, ends, word):
    for row, (low, high) in zip(results["ablate_vs_subtract"]["matched"], ends, strict=True):
        row.update(difference=(low + high) / 2, ci_low=low, ci_high=high)
    assert verdicts.ablating(upgrade(results)).word == word


@pytest.mark.parametrize(
    ("low", "high", "phrase"),
    [
        (-0.5, -0.2, "the gap is larger where the projection is smaller"),
        (0.2, 0.5, "the gap is smaller where the projection is smaller"),
        (-0.1, 0.2, "no clear trend"),
    ],
)
def test_the_explanation_is_tested_by_rank(results, low, high, phrase):
    rank = {"rho": (low + high) / 2, "ci_low": low, "ci_high": high, "n": 99}
    results["ablate_vs_subtract"]["spearman_projection_gap"] = rank
    assert phrase in verdicts.ablating(upgrade(results)).reasons[-1]


def test_the_smallest_sufficient_scope_is_named(results):
    assert "prompt only: 58% of tokens" in verdicts.scopes(results).sentence
    rows = [c for c in results["comparisons"] if c["treatment"] != "scope:template"]
    rows.append(comparison("scope:template", "set_projection", 0.01, question=5))
    assert "template tokens: 12% of tokens" in verdicts.scopes(only(results, *rows)).sentence


def test_scopes_that_all_fall_short_or_are_undecided(results):
    names = [row["condition"] for row in results["scopes"] if row["scope"] != "all"]
    short = [comparison(name, "set_projection", -0.3) for name in names]
    assert verdicts.scopes(only(results, *short)).word == "worse"
    wide = [comparison(name, "set_projection", -0.05, se=0.1) for name in names]
    results.pop("power")
    verdict = verdicts.scopes(only(results, *wide))
    assert verdict.word == "undecided"
    assert verdict.sentence.endswith("undecided.")


@pytest.mark.parametrize(
    ("difference", "se", "word"),
    [(0.2, 0.03, "better"), (-0.2, 0.03, "worse"), (0.0, 0.02, "equivalent"), (0.03, 0.08, "undecided")],
)
def test_repe_is_judged_against_setting(results, difference, se, word):
    verdict = verdicts.boost(only(results, comparison("repe_add", "set_projection", difference, se=se)))
    assert verdict.word == word
    assert "Zou et al. 2023 report 8 points for Vicuna-13B (their number)" in verdict.sentence


def test_heads_need_to_clear_baseline_and_random(results):
    rows = results["heads"]["comparisons"]
    for row in rows:
        clear = row["k"] >= 6 if row["reference"] == "random" else row["k"] >= 2
        row.update(difference=0.05, ci_low=0.01 if clear else -0.01, ci_high=0.1, holm_p=0.01)
    assert upgrade(results)["heads"]["smallest_k"] == 6
    assert "6 heads at one token suffice" in verdicts.heads(upgrade(results)).sentence
    for row in rows:
        row["ci_low"] = -0.01
    assert verdicts.heads(upgrade(results)).word == "undecided"


@pytest.mark.parametrize(
    ("difference", "se", "word"),
    [(-0.13, 0.03, "better"), (0.13, 0.03, "worse"), (0.0, 0.02, "equivalent"), (0.0, 0.09, "undecided")],
)
def test_fewer_refusals_of_borderline_prompts_are_better(results, difference, se, word):
    row = comparison("set_harmless_mean", "baseline", difference, se=se, prompts="borderline", n=100)
    assert verdicts.over_refusal(only(results, row)).word == word


def test_a_second_direction_is_reported(results):
    assert "no further direction" in verdicts.stability(upgrade(results)).sentence
    results["stability"]["refits"][2]["induce"] = share(0.6, 64)
    assert "round 2 still finds a direction" in verdicts.stability(upgrade(results)).sentence


def test_a_run_by_log_odds_alone_is_judged_too():
    results = synthetic_results.by_score()
    found = verdicts.verdicts(results)
    assert {1, 4, 5, 7, 10, 11} <= set(found)
    assert "no further direction" in found[11].sentence
    results["stability"]["refits"][1]["induce"] = synthetic_results.score(2.0, n=64)
    assert "round 1 still finds a direction" in verdicts.stability(upgrade(results)).sentence
    assert any("setting should score −0.40 nats" in reason for reason in found[1].reasons)


def test_dose_reads_from_the_lowest_to_the_highest_target(results):
    results["dose"].reverse()
    sentence = verdicts.dose(results).sentence
    targets = [row["target"] for row in results["dose"]]
    assert sentence.startswith(f"From a target of −{abs(min(targets)):.2f} to {max(targets):.2f}")


def test_absent_fields_give_no_verdict(results):
    assert set(verdicts.verdicts(results)) == set(range(1, 12))
    assert set(verdicts.verdicts(synthetic_results.quick())) == {1, 4}
    assert verdicts.verdicts({"schema_version": 1}) == {}


def test_each_table_can_be_missing(results):
    for key in list(results):
        verdicts.verdicts({name: value for name, value in results.items() if name != key})


def a_layer(layer, harmless, gap, half=0.1, harmful=10.0):
    return {
        "layer": layer,
        "harmless_mean_projection": harmless,
        "harmful_mean_projection": harmful,
        "gap": gap,
        "ci_low": gap - half,
        "ci_high": gap + half,
    }


def test_layers_say_whether_setting_and_adding_part_where_harmless_prompts_do_not_project_to_zero(results):
    row = comparison("add_average", "set_projection", 0.01)
    as_explained = [a_layer(0, -4.0, 0.8), a_layer(1, 3.0, -0.6), a_layer(2, 0.1, 0.02), a_layer(3, 5.0, 0.5)]
    told = " ".join(verdicts.adding(upgrade(only(results, row) | {"layers": as_explained})).reasons)
    assert "part at 3 of 4 layers; at 2 of them as the explanation says" in told
    assert "0.02 nats on average at the 1 layer where" in told
    assert "by 0.63 at the others" in told


@pytest.mark.parametrize(("value", "where"), [(0.1, "inside"), (0.9, "outside")])
def test_both_predictions_are_held_against_the_interval(results, value, where):
    found = {"predicted_score": 5.0, "predicted_score_last_token": value, "observed_score": 0.0, "score_ci_low": -0.2}
    found |= {"score_ci_high": 0.2, "observed_add_score": 0.0, "n": 64}
    row = comparison("add_average", "set_projection", 0.01)
    told = " ".join(verdicts.adding(upgrade(only(results, row) | {"prediction": found})).reasons)
    assert "so the prediction lies outside the interval" in told
    assert f"Read at the last prompt token alone it should score {value:.2f} nats: {where} the interval" in told


def test_the_label_of_the_example_says_what_its_sentences_say():
    """On the stored run subtracting removes less at every matched damage: the label speaks of ablating."""
    results = contract.read(EXAMPLE)
    verdict = verdicts.ablating(upgrade(results))
    assert all(row["treatment"].startswith("subtract") and row["ci_low"] > 0
               for row in results["ablate_vs_subtract"]["matched"])  # fmt: skip
    assert verdict.word == "better"
    assert page.prose()["questions"]["4"]["labels"]["better"] == "ablating removes more"
    assert verdict.sentence.count("subtract removes less refusal than ablate") == 3
    assert verdict.reasons[0].startswith("Subtract and ablate are equivalent within 10 points (+2.0 points [0.1, 5.0]")


def test_a_comparison_told_the_other_way_round_gives_the_same_verdict(results):
    del results["ablate_vs_subtract"]
    before = verdicts.ablating(upgrade(results)).word
    results = upgrade(results)
    row = next(c for c in results["comparisons"] if (c["treatment"], c["reference"]) == ("subtract", "ablate"))
    row.update(difference=-row["difference"], ci_low=-row["ci_high"], ci_high=-row["ci_low"])
    row.update(ci90_low=-row["ci90_high"], ci90_high=-row["ci90_low"])
    assert (before, verdicts.ablating(upgrade(results)).word) == ("better", "worse")


@pytest.mark.parametrize(
    ("kind", "drop", "message"),
    [
        (
            "comparisons",
            ("subtract", "ablate"),
            r"expected subtract − ablate on harmful prompts, got ablate − baseline",
        ),
        ("comparisons", ("add_average", "set_projection"), r"expected add_average − set_projection on harmless"),
        ("comparisons", ("scope:prompt", "set_projection"), r"None"),
        ("rates", ("ablate", "harmful"), r"rates: expected ablate on harmful prompts, got baseline, subtract"),
        ("pca", 14, r"pca: expected a row of layer 14, where r̂ is, got rows of layers"),
        ("auroc", 14, r"auroc: expected a row of layer 14"),
    ],
)
def test_a_row_that_must_be_there_and_is_not_is_an_error(results, kind, drop, message):
    def names(row):
        if kind == "comparisons":
            return row["treatment"], row["reference"]
        return (row["condition"], row["prompts"]) if kind == "rates" else row["layer"]

    results[kind] = [row for row in results[kind] if names(row) != drop]
    if message == "None":
        assert len(verdicts.scopes(results).reasons) == 4
        return
    with pytest.raises(ArtifactError, match=message):
        verdicts.verdicts(results)


def test_a_claim_without_its_comparison_is_an_error(results):
    results["comparisons"] = [c for c in results["comparisons"] if c["treatment"] != "heads:6"]
    with pytest.raises(ArtifactError, match="primary: expected the comparison heads:6 − random_heads:6 that it names"):
        tables.primary(results)
