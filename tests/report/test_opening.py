"""The opening sentences: their words follow the claims' verdicts, their numbers the rates, and no rule is named."""

import pytest

from rhat.display.wording import percent
from rhat.report.opening import opening, place
from rhat.report.picture import picture
from rhat.results import records


def told(results, claim_id, verdict, row_verdict=None):
    """The opening once a claim (and perhaps its comparison) has another verdict."""
    [claim] = [one for one in results["primary"] if one["id"] == claim_id]
    claim["verdict"] = verdict
    for row in results["comparisons"]:
        if (row["treatment"], row["reference"], row["prompts"]) == (
            claim["treatment"],
            claim["reference"],
            claim["prompts"],
        ):
            row["verdict"] = row_verdict or row["verdict"]
    return opening(records(results))


def test_three_sentences_and_a_place(run):
    found = opening(run.model_copy(update={"judges": ()}))
    assert len(found) == 4
    for sentence, (condition, label) in zip(
        found,
        (("set_projection", "harmless"), ("ablate", "harmful"), ("random_set_projection", "harmless")),
        strict=False,
    ):
        after, before = run.find_rate(condition, label), run.find_rate("baseline", label)
        assert f"{percent(after.rate)} of {label} requests ({percent(before.rate)} before)" in sentence
    assert "zero_norm" not in "".join(found)
    assert "removed by" not in "".join(found)


def test_random_directions_act_too_only_where_setting_does(results):
    told(results, "set_vs_baseline", "undecided")
    sentence = told(results, "random_vs_baseline", "undecided", "better")[2]
    assert "Random directions made it refuse more: " in sentence
    told(results, "set_vs_baseline", "better")
    sentence = told(results, "random_vs_baseline", "undecided", "worse")[2]
    assert "Random directions made it refuse less: " in sentence
    assert "made it refuse more too: " in told(results, "random_vs_baseline", "undecided", "better")[2]


@pytest.mark.parametrize(
    ("claim", "verdict", "row", "index", "words"),
    [
        ("set_vs_baseline", "better", None, 0, "Setting r̂ made it refuse"),
        ("set_vs_baseline", "undecided", None, 0, "is not shown"),
        ("ablate_vs_baseline", "worse", None, 1, "Removing r̂ made it refuse"),
        ("ablate_vs_baseline", "undecided", None, 1, "is not shown"),
        ("random_vs_baseline", "equivalent", "equivalent", 2, "Random directions changed little"),
        ("random_vs_baseline", "equivalent", "better", 2, "made it refuse a little more"),
        ("random_vs_baseline", "undecided", "undecided", 2, "is undecided"),
        ("random_vs_baseline", "undecided", "better", 2, "Random directions made it refuse more too"),
    ],
)
def test_words_follow_the_verdict(results, claim, verdict, row, index, words):
    sentence = told(results, claim, verdict, row)[index]
    assert words in sentence
    assert ("changed little" in sentence) == (words == "Random directions changed little")
    assert (" made it refuse" in sentence) == (" made it refuse" in words or "made it refuse a little" in words)


def test_the_last_layer_that_may_be_chosen_is_the_boundary(results):
    results["selection"]["last_layer"] = results["direction"]["layer"]
    assert "at the boundary" in place(records(results))
    results["selection"]["last_layer"] += 1
    assert "boundary" not in place(records(results))


JUDGE = {"judge": "rules", "version": "1", "default": True, "tokens": 8, "labelled": 100, "untold": 0, "passed": False}


def test_a_judge_that_has_not_passed_is_said_first_and_no_claim_stands_on_it(results):
    passing = opening(records(results | {"judges": [JUDGE | {"passed_refused": True}]}))
    assert passing == opening(records(results | {"judges": []}))
    failed = records(results | {"judges": [JUDGE | {"passed_refused": False}]})
    first, *told = opening(failed)
    assert first.startswith("The judge of these answers has not passed: ")
    assert "the judge rules (version 1)" in first
    assert len(told) == len(passing)
    assert told[-1] == passing[-1] == place(failed)
    for sentence, (condition, label) in zip(
        told,
        (("set_projection", "harmless"), ("ablate", "harmful"), ("random_set_projection", "harmless")),
        strict=False,
    ):
        assert f"answers to {percent(failed.find_rate(condition, label).rate)} of {label} requests" in sentence
        assert sentence.endswith("were read as refusals.")
        for claim in (" made it refuse", "changed little", "is shown", "is not shown", "is undecided"):
            assert claim not in sentence
    another = JUDGE | {"passed_refused": False, "default": False, "judge": "of the panel"}
    assert opening(records(results | {"judges": [JUDGE | {"passed_refused": True}, another]})) == passing


def test_runs_side_by_side_say_whose_judge_has_not_passed(tmp_path, results):
    from rhat import results as contract
    from rhat.report.comparison import runs

    for name, passed in (("a", True), ("b", False)):
        contract.write(results | {"judges": [JUDGE | {"passed_refused": passed}]}, tmp_path / name)
    cells = [run.cells() for run in runs([tmp_path / "a", tmp_path / "b"])]
    assert "Judge" not in cells[0]
    assert cells[1]["Judge"] == "has not passed: no rate is a headline"


def test_a_run_without_claims_says_where_it_is_only(results):
    assert opening(records(results | {"primary": []})) == (place(records(results)),)


def test_the_page_opens_with_them(drawn_folder, studied):
    from rhat import results as contract
    from rhat.report.terms import Terms

    page = (drawn_folder / "report.html").read_text()
    run = contract.load(studied)
    terms = Terms()
    at = [page.index(f'<p class="opening">{terms.explained(sentence)}</p>') for sentence in opening(run)]
    at += [page.index('id="figure-opening"'), page.index("The answer</h2>")]
    assert at == sorted(at)


def test_the_picture_shows_each_kind_of_requests_by_itself(run):
    """Controls of harmful and of harmless prompts never share a row."""
    figure = picture(run)
    assert [note.text for note in figure.layout.annotations] == ["Harmless requests", "Harmful requests"]
    for trace, label, names in zip(
        figure.data,
        ("harmless", "harmful"),
        (("baseline", "set_projection", "random_set_projection"), ("baseline", "ablate", "random_ablate")),
        strict=True,
    ):
        assert list(trace.x) == [run.find_rate(name, label).rate for name in names]


def test_nothing_edited_is_no_picture(results):
    left = {
        "rates": [row for row in results["rates"] if row["condition"] == "baseline"],
        "comparisons": [],
        "primary": [],
    }
    assert picture(records(results | left | {"scopes": []})) is None
