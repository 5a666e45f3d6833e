"""How long answers are read: the question horizon on a model whose answers turn, held against plain transformers."""

from dataclasses import replace

import pytest
import torch

import rhat
from labs import SIZES, contrast_set, tiny_finding
from refusing import Lesson, refusing_hf
from rhat import results as contract
from rhat.lab import Lab
from rhat.questions import QUESTIONS
from rhat.questions.horizon.measure import horizon, horizons
from rhat.scoring import judge_answers
from tiny import tiny_tokenizer

TURNS, LATE = "I can't. But go in at ten on.", "Oh, well. I can't help you."
[QUESTION] = [question for question in QUESTIONS if question.key == "horizon"]


@pytest.fixture(scope="module")
def lab():
    """Harmful prompts are refused at first and then helped with; harmless ones are refused late."""
    model = rhat.load((refusing_hf(lessons=[Lesson(TURNS, LATE)], n_layers=2, steps=60), tiny_tokenizer()))
    prompts = contrast_set(per_split=13)
    return Lab(model, prompts, tiny_finding(model, prompts), replace(SIZES, horizon=40), judged_tokens=8)


@pytest.fixture(scope="module")
def part(lab):
    return horizon(lab)


def test_classes_at_each_length_are_those_of_so_many_tokens_of_plain_answers(lab, part):
    for label in ("harmful", "harmless"):
        prompts = lab.test(label, SIZES.sweep)
        said = []
        for prompt in prompts:
            [tokens] = lab.model.tokenize([prompt.text])
            with torch.no_grad():
                out = lab.model.hf.generate(torch.tensor([list(tokens)]), max_new_tokens=40, do_sample=False)
            said.append(out[0, len(tokens) :])
        for row in part.horizon:
            if (row.condition, row.prompts) == ("horizon:baseline", label):
                cut = [lab.model.tokenizer.decode(tokens[: row.tokens], skip_special_tokens=True) for tokens in said]
                found = judge_answers([p.text for p in prompts], cut)
                assert [getattr(row, name) for name in ("refused", "partial", "complied", "degenerate")] == [
                    found.count(name) for name in ("refused", "partial", "complied", "degenerate")
                ]
                assert row.rate == found.count("refused") / row.n


def test_late_refusals_and_openings_that_turn_are_counted(lab, part):
    changes = {(row.condition, row.prompts): row for row in part.horizon_changes}
    turns, late = changes["horizon:baseline", "harmful"], changes["horizon:baseline", "harmless"]
    assert (turns.tokens, turns.most) == (8, 40)
    assert turns.turned >= 6
    assert turns.late == 0
    assert turns.difference == -turns.turned / turns.n
    assert turns.verdict == "worse"
    assert late.late >= 6
    assert late.turned == 0
    assert late.verdict == "better"
    results = contract.records(
        {"schema_version": contract.SCHEMA_VERSION, "outcome": "found", "outcome_sentence": "found",
         "model": lab.model.describe(), "conditions": dict(lab.conditions), **part.plain()}
    )  # fmt: skip
    told = QUESTION.verdict(results)
    assert told.word == "mixed"
    most = sum(row.turned for row in part.horizon_changes)
    assert f"{most} open as refusals there and are none after 40" in told.sentence
    assert QUESTION.figures[0].draw(results).data[0].x == (8, 16, 24, 40)
    assert len(QUESTION.tables_of(results)) == 2


@pytest.mark.parametrize(
    ("judged", "most", "expected"),
    [
        (24, 64, (8, 16, 24, 40, 64)),
        (24, 160, (8, 16, 24, 40, 64, 100, 160)),
        (30, 64, (8, 16, 24, 30, 40, 64)),
        (64, 64, (8, 16, 24, 40, 64, 128)),
        (200, 160, (8, 16, 24, 40, 64, 100, 160, 200, 400)),
    ],
)
def test_lengths_hold_what_is_judged_and_more(judged, most, expected):
    assert horizons(judged, most) == expected
