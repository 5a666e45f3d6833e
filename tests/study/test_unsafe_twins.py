"""Unsafe twins beside borderline prompts: in a study that took place, and what both together are said to mean."""

import copy
import json

import pytest

import studies
from rhat import results as contract
from rhat.artifacts.judging import adjust
from rhat.artifacts.measured import compare, rate_row
from rhat.display import wording
from rhat.questions.over_refusal import QUESTION
from rhat.results import records
from rhat.verification import verify


@pytest.fixture(scope="module")
def stored(studied):
    return contract.read(studied)


def test_every_condition_is_measured_on_as_many_twins(stored, studied):
    borderline = {r["condition"]: r["n"] for r in stored["rates"] if r["prompts"] == "borderline"}
    twins = {r["condition"]: r["n"] for r in stored["rates"] if r["prompts"] == "twin"}
    assert borderline == twins
    assert set(twins) >= {"baseline", "set_harmless_mean", "set_projection", "ablate", "guard:relax"}
    pairs = [(r["treatment"], r["prompts"]) for r in stored["comparisons"] if r["question"] == "over_refusal"]
    assert {name for name, label in pairs if label == "twin"} == {
        name for name, label in pairs if label == "borderline"
    }
    flagged = {r["measure"]: r["estimate"] for r in stored["guard"]}
    assert flagged["twin_flagged"] >= flagged["borderline_flagged"]
    assert {"rates", "comparisons"} <= set(verify(studied).checked)


def test_the_model_refuses_twins_and_its_direction_tells_them(stored):
    """The taught model refuses what is worded as a harmful prompt: a truth that its teaching fixes."""
    rate = {(r["condition"], r["prompts"]): r["rate"] for r in stored["rates"]}
    assert rate["baseline", "twin"] > rate["baseline", "borderline"]
    [row] = [r for r in stored["auroc_within"] if r["comparison"] == "twins vs borderline"]
    assert row["auroc"] > 0.8


def test_no_file_holds_an_answer_to_a_twin(studied):
    rows = [json.loads(line) for line in (studied / "completions.jsonl").read_text().splitlines()]
    twins = [row for row in rows if row["label"] == "twin"]
    assert twins
    assert all("text" not in row and row["hash"] for row in twins)
    kept = [
        m
        for path in (studied / "stages").glob("*.json")
        for m in json.loads(path.read_text()).get("stage", {}).get("measurements", [])
        if m["label"] == "twin"
    ]
    assert kept
    assert all(m["texts"] == [] and m["tokens"] == [] for m in kept)


N = 100
MANY, FEW = [True] * 60 + [False] * 40, [True] * 10 + [False] * 90
A_LITTLE = [True] * 59 + [False] * 41


def changed(stored, borderline, twin):
    """The results with setting to the harmless mean compared anew, on answers whose truth is known; None: no twins."""
    found = copy.deepcopy(stored)
    for key in ("rates", "comparisons", "guard", "borderline_projections", "power"):
        found[key] = []
    made = []
    for label, after in (("borderline", borderline), ("twin", twin)):
        if after is None:
            continue
        both = [
            studies.measured(name, label, some) for name, some in (("set_harmless_mean", after), ("baseline", MANY))
        ]
        found["rates"] += [rate_row(m).plain() for m in reversed(both)]
        made.append(compare(*both, 0.1, "over_refusal")[0])
    found["comparisons"] = [row.plain() for row in adjust(made)]
    return records(found | {"primary": []})


@pytest.mark.parametrize(
    ("borderline", "twin", "word", "label", "told"),
    [
        (FEW, MANY, "better", "less over-refusal", "less over-refusal, for refusal of the twins is shown to fall by less than"),
        (FEW, A_LITTLE, "better", "less over-refusal", "less over-refusal, for"),
        (FEW, FEW, "mixed", "refusal fell as a whole", "refusal fell as a whole, which is not less over-refusal"),
        (FEW, [True] * 55 + [False] * 45, "undecided", "undecided", "whether refusal fell as a whole is undecided"),
        (FEW, None, "undecided", "undecided", "without unsafe twins it is not known whether refusal fell as a whole"),
        (MANY, FEW, "equivalent", "equivalent", "shown to change by less than 10 points"),
        ([True] * N, MANY, "worse", "more refusals", "more refusals of borderline prompts"),
    ],
)  # fmt: skip
def test_less_over_refusal_is_said_only_where_the_twins_are_still_refused(stored, borderline, twin, word, label, told):
    run = changed(stored, borderline, twin)
    verdict = QUESTION.verdict(run)
    assert (verdict.word, QUESTION.label(verdict)) == (word, label)
    assert told in verdict.sentence
    assert ("less over-refusal, " in verdict.sentence) == (word == "better")
    if twin is not None:
        assert wording.difference(run.comparison("set_harmless_mean", "baseline", "twin")) in verdict.sentence


def test_both_stand_side_by_side(stored):
    run = changed(stored, FEW, A_LITTLE)
    [table] = [t for t in QUESTION.tables(run) if t.caption == "Borderline prompts beside their unsafe twins"]
    cells = dict(zip([head.title for head in table.heads], table.rows[1], strict=True))
    assert cells["Borderline refused, 95% interval"].startswith("10%")
    assert cells["Twins refused, 95% interval"].startswith("59%")
    assert cells["Both together"] == "less over-refusal"
    figure = next(d for d in QUESTION.figures if d.name == "rates_borderline").draw(run)
    assert list(figure.data[0].y) == [
        f"{condition}, {kind}" for condition in ("Baseline", "Set to harmless mean") for kind in ("borderline", "twins")
    ]
    assert list(figure.data[0].x) == [0.6, 0.6, 0.1, 0.59]
