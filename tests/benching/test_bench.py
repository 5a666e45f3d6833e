"""A small bench on a tiny model that was taught to refuse; doses, refusals and KL against plain transformers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import rhat
from benches import FORMULAS, Counted, Edited, kl, logits
from rhat.benching import BenchSettings, bench
from rhat.benching.cost import bench_work
from rhat.benching.dosing import dose_row, dosed, searched_topics
from rhat.benching.entries import Bench, Entry, Left
from rhat.benching.measure import _lab
from rhat.benching.operators import operators
from rhat.benching.settings import TASKS
from rhat.scoring.pieces import Pieces
from rhat.selection.cost import Answers, total
from rhat.selection.settings import silent
from rhat.vocabulary import PROMPTINGS
from tiny import tiny_tokenizer

KL = 2.0
OPERATED = BenchSettings(only=("operators",), tasks=("remove",), kl=(0.3, 9.0), judged_tokens=10)


@pytest.fixture(scope="module")
def operated(model, prompts, r):
    """What the operators offer, the rows of their doses, and what is left out by condition, task and KL; nothing is answered."""
    given = Bench(_lab(model, prompts, r, OPERATED, None, silent, None, None), OPERATED)
    offered, task = operators(given), TASKS["remove"]
    found, left = dosed(given, [one for one in offered if isinstance(one, Entry)], task)
    why = {(row.name, row.kl): row.reason for row in left}
    why |= {(one.name, None): one.reason for one in offered if isinstance(one, Left)}
    return offered, [dose_row(searched_topics(given, task), one, task) for one in found], why


def test_every_dose_makes_the_kl_that_was_asked_for_within_a_tenth_by_plain_transformers(
    model, prompts, r, found, operated
):
    kept = rhat.selection.given_direction.finding_for(model, prompts, r).kept["validation"]
    assert {row.task for row in found.doses} == {"induce", "remove"}
    tried = set()
    for row in [*found.doses, *operated[1]]:
        assert row.within is (abs(row.kl_mean / row.kl - 1) <= 0.1) is True
        assert row.ci_low < row.kl_mean < row.ci_high
        if row.op in FORMULAS and row.condition.startswith(("finder:mean", "operator:")):
            ids = model.tokenize([p.text for p in kept[row.prompts]])[: row.n]
            base = logits(model, ids)
            with Edited(model, r.layer, lambda x, row=row: FORMULAS[row.op](x, r.unit, row.dose)):
                assert row.kl_mean == pytest.approx(kl(base, logits(model, ids)), rel=1e-3), row
            tried.add(row.op)
    assert tried == {"add", "add_keeping_norm", "subtract", "set_projection", "scale"}


def test_refusals_are_those_of_plain_transformers(model, prompts, r, found):
    [dose] = [
        row.dose for row in found.doses if (row.condition, row.task) == (f"finder:mean_difference@{KL:g}", "induce")
    ]
    some, n = prompts.select("harmless", "test"), 0
    with Edited(model, r.layer, lambda x: x + dose * r.unit):
        for ids in model.tokenize([p.text for p in some]):
            with torch.no_grad():
                out = model.hf.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False)
            n += tiny_tokenizer().decode(out[0, len(ids) :]).startswith("Sorry")
    row = found.rate(f"finder:mean_difference@{KL:g}", "harmless")
    assert (row.refused, row.n) == (n, len(some))
    assert n > found.rate("baseline", "harmless").refused


def test_asking_in_words_has_the_kl_of_the_plain_prompt_against_the_prompted_one(model, prompts, found):
    some = prompts.select("harmless", "test")
    base = logits(model, model.tokenize([p.text for p in some]))
    for name, prompting in PROMPTINGS.items():
        talks = []
        for p in some:
            talk = [{"role": "system", "content": prompting.system}] if prompting.system else []
            for request, answer in prompting.turns:
                talk += [{"role": "user", "content": request}, {"role": "assistant", "content": answer}]
            talks.append([*talk, {"role": "user", "content": p.text}])
        template = model.tokenizer.apply_chat_template
        ids = [template(talk, add_generation_prompt=True, return_dict=False) for talk in talks]
        wanted = kl(base, logits(model, ids))
        [row] = [
            row
            for row in found.damage
            if (row.condition, row.prompts, row.measure) == (f"prompting:{name}", "harmless", "kl")
        ]
        assert row.value == pytest.approx(wanted, rel=1e-3), name
        assert row.kl is None
    assert not [row for row in found.comparisons if row.treatment.startswith("prompting")]  # at no equal KL


def test_no_edit_does_exactly_nothing_and_everything_else_something(found):
    rows = [row for row in found.damage if row.measure == "kl"]
    assert {row.prompts for row in rows} == {"harmless", "harmful", "borderline", "twin"}
    for row in rows:
        assert (row.value == 0) == (row.condition == "baseline"), row


def test_what_is_left_out_says_why(found):
    why = {(row.part, row.name, row.task): row.reason for row in found.left_out}
    assert "after a colon" in why["finder", "category", None]
    assert "a vector of the user's own" in why["finder", "given", None]
    assert "--search" in why["rule", "cosmic", None]


def test_an_operator_that_cannot_is_left_out_and_one_that_cannot_do_so_much_with_its_largest(operated):
    offered, doses, why = operated
    assert {one.name: one.same for one in offered if isinstance(one, Entry)}["subtract"] == "finder:mean_difference"
    assert why["ablate", None] == "takes no number, so it has no dose"
    assert why["raise_projection", None] == "moves towards refusal only"
    assert "the largest is" in why["ablate_partially", 9.0]
    assert why["ablate_partially", 9.0].endswith("nats, at 1")
    assert [dose.kl for dose in doses if "ablate_partially" in dose.condition] == [0.3]


def test_rules_choose_what_a_search_by_them_chooses_and_the_same_place_is_measured_once(model, prompts, r, found):
    rows = {row.condition: row for row in found.compared}
    assert rows["rule:published"].same_as == "finder:mean_difference"
    searched = rhat.find(model, prompts, rhat.FindSettings(rule="first_auroc")).direction
    assert rows["rule:first_auroc"].site == str(searched.site)
    cosine = float(searched.unit.double() @ r.unit.double())
    assert rows["rule:first_auroc"].cosine == pytest.approx(cosine, abs=1e-4)
    assert not [row for row in found.rates if row.condition.startswith("rule:published")]


def test_each_task_is_one_family_and_sentences_are_those_of_its_rows(found):
    for question in ("bench_induce", "bench_remove", "bench_over_refusal"):
        rows = [row for row in found.comparisons if row.question == question]
        assert rows
        assert {row.reference for row in rows} == {f"finder:mean_difference@{KL:g}"}
    for row in [
        found.rate(f"finder:mean_difference@{KL:g}", label) for label in ("harmless", "harmful", "borderline", "twin")
    ]:
        said = rhat.display.wording.rate(row)
        assert any(said in sentence for sentence in found.sentences), said
    assert f"{len(found.doses)} doses of equal KL, each within 10 %" in " ".join(found.sentences)


def test_what_was_kept_is_not_done_again(model, prompts, r, settings, found, kept):
    executor = Counted()
    again = bench(model, prompts, r, settings, executor=executor, pieces=Pieces.of(kept, model))
    assert executor.shards == 0
    assert {**again.plain(), "timings": []} == {**found.plain(), "timings": []}


def test_work_is_expected_as_it_comes(model, prompts, r, settings, counted):
    settings = replace(settings, finders=("lat",))  # what can be expected to be there
    stages = bench_work(model, prompts, r, settings, answers=Answers(10.0, 24, 0.0))
    assert total(stages).flop == pytest.approx(counted[1].flop, rel=0.4)
    took = {row.stage: row.gflop for row in counted[0].timings}
    for stage in ("answers", "what else moves"):
        assert stages[stage].flop / 1e9 == pytest.approx(took[stage], rel=0.4), stage


def test_matched_random_directions_are_dealt_in_turn(found):
    doses = [row for row in found.doses if row.condition.startswith("control:") and row.task == "induce"]
    assert len({row.seed for row in doses}) == len(doses) == 4
    assert np.std([row.dose for row in doses]) > 0
    [row] = [row for row in found.rates if (row.condition, row.prompts) == (f"control:random@{KL:g}", "harmless")]
    assert row.n == 13
