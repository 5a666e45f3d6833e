"""The document of a small bench: its tables, figures and page, the command that writes it, and what is rejected."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import rhat
from benches import files_of
from labs import tiny_lab
from rhat.benching import BenchResults, BenchSettings, bench, figures
from rhat.benching.answering import treatments_of
from rhat.benching.cost import bench_work
from rhat.benching.courses import Course
from rhat.benching.dosing import Dosed
from rhat.benching.entries import Bench, Entry
from rhat.benching.settings import TASKS
from rhat.benching.tables import tables
from rhat.benching.verdict import judged
from rhat.benching.words import called
from rhat.display import wording
from rhat.errors import ArtifactError, StudyError
from rhat.scoring.pieces import Pieces
from rhat.vocabulary import OPERATORS, Operator, Way
from rhat.vocabulary.parameters import COEFFICIENT


def test_tables_and_figures_hold_every_condition(found, tmp_path):
    shown = {table.caption: table for table in tables(found)}
    assert len(shown) == 7
    induced = shown["Inducing refusal: harmless test prompts"]
    conditions = {row.condition for row in found.damage if row.task == "induce"}
    assert len(induced.rows) == len(conditions)
    [moved] = [table for name, table in shown.items() if name.startswith("Inducing refusal: what else moves")]
    assert moved.caption.endswith("(12 of 36 neutral texts, 12 own answers, 16 of 240 questions)")
    assert len(moved.rows) == len(conditions)
    assert len(moved.heads) == 2 + 3 * 3
    within = [head.title for head in induced.heads].index("Within 10 %")
    assert {row[within] for row in induced.rows} == {"yes", ""}
    files = figures.write(found, tmp_path / "bench.json")
    assert [file.name for file in files] == [
        f"bench.{name}.svg" for name in ("frontier", "induce", "remove", "over-refusal")
    ]
    drawn = figures.frontier(found)
    assert sum(len(trace.x) for trace in drawn.data) == len(found.frontier)
    assert found == BenchResults.load(found.save(tmp_path / "bench.json"))


def test_a_bench_of_before_other_measures_is_read_and_shown_without_them(found, tmp_path):
    plain = found.plain()
    more = (
        "available",
        "difference",
        "difference_low",
        "difference_high",
        "p",
        "holm_p",
        "margin",
        "equivalence_p",
        "verdict",
    )
    plain["damage"] = [
        {name: value for name, value in row.items() if name not in more}
        for row in plain["damage"]
        if row["measure"] in ("kl", "degenerate")
    ]
    old = BenchResults.load(BenchResults.of(plain).save(tmp_path / "bench.json"))
    shown = {table.caption for table in tables(old)}
    assert len(shown) == 5
    assert not any("what else moves" in caption for caption in shown)
    said = " ".join(judged(old)["sentences"])
    assert "against no edit" not in said
    assert judged(old)["sentence"] == found.sentence


def test_the_page_is_written_from_a_saved_bench(found):
    file = Path(__file__).parents[2] / "docs" / "bench.py"
    spec = importlib.util.spec_from_file_location("bench_page", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.PAGE.read_text("utf-8")
    written = module.page(text, found, "rhat bench -d r.safetensors")
    assert written.count(f"> {found.sentence}\n") == 1
    for sentence in found.sentences:
        assert f"- {sentence}\n" in written
    every = [line for line in module.rows_page(found, "rhat bench").splitlines() if line.startswith("| ")]
    assert len(every) == sum(2 + len(table.rows) for table in tables(found))  # heads and the rule below them
    made = module.overview(found, "induce", "harmless")[0]
    assert {row[0] for row in made.rows} == {called(row.condition) for row in found.rates if row.prompts == "harmless"}
    for row in made.rows:
        cells = dict(zip([head.title for head in made.heads], row, strict=True))
        rates = [rate for rate in found.rates if rate.prompts == "harmless" and called(rate.condition) == row[0]]
        assert {cells["Refused, without a KL asked"], cells["Refused at 2 nats"]} - {""} == {
            wording.rate(one) for one in rates
        }
        compared = [
            one
            for one in found.comparisons
            if one.prompts == "harmless" and one.question == "bench_induce" and called(one.treatment) == row[0]
        ]
        assert cells["Against mean difference"] == "".join(
            f"{wording.difference(one)}, {wording.judgement(one)}" for one in compared
        )
    (before, _, after), (kept, _, rest) = text.partition(module.BEGIN), written.partition(module.BEGIN)
    assert (before, after.partition(module.END)[2]) == (kept, rest.partition(module.END)[2])
    assert module.page(written, found, "rhat bench -d r.safetensors") == written


def test_refusals_alone_are_the_same_without_the_rest(found, model, prompts, r, settings, kept):
    alone = replace(settings, refusals_only=True)
    short = bench(model, prompts, r, alone, pieces=Pieces.of(kept, model))
    assert {row.measure for row in short.damage} == {"kl", "degenerate"}
    assert (short.rates, short.comparisons, short.doses) == (found.rates, found.comparisons, found.doses)
    assert short.sentence == found.sentence
    stages = bench_work(model, prompts, r, settings), bench_work(model, prompts, r, alone)
    assert set(stages[0]) - set(stages[1]) == {"what else moves"}


def test_what_was_found_on_test_prompts_is_not_tested_on_them():
    lab = tiny_lab()
    unit = torch.nn.functional.normalize(torch.ones(lab.model.d_model), dim=0)
    entry = Entry("finder", "false_refusal", unit, 1, seen=("borderline", "twin"))
    one = Dosed(entry, Course("add", "refusal", 0.0, 1.0), 0.2, 1.5, np.full(4, 0.2))
    given = Bench(lab, BenchSettings())
    for task, there in (("induce", True), ("over-refusal", False)):
        treatments, left = treatments_of(given, [one], TASKS[task])
        assert ("finder:false_refusal@0.2" in treatments) is there
        assert [(row.name, row.task, row.kl) for row in left] == ([] if there else [("false_refusal", task, 0.2)])


@pytest.mark.parametrize(
    "given",
    [
        {"only": ("figures",)},
        {"tasks": ()},
        {"kl": (0.0,)},
        {"kl": (0.2, 0.2)},
        {"kl": (0.2, 0.20000001)},
        {"only": ("finders", "finders")},
        {"finders": ("lat", "lat")},
        {"preset": "full"},
        {"margin": 0.0},
    ],
)
def test_settings_that_cannot_be_are_rejected(given):
    with pytest.raises(StudyError, match="expected") as raised:
        BenchSettings(**given)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_none_is_one_line(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    for name, said in (("none.json", "cannot be read"), ("other.json", "not written by `rhat bench`")):
        with pytest.raises(ArtifactError, match=said):
            BenchResults.load(tmp_path / name)


def test_the_command_writes_the_bench_and_its_figures(model, prompts, r, tmp_path, capfd, monkeypatch):
    from rhat.cli import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    arguments = ["bench", *files_of(model, prompts, r)]
    arguments += ["--only", "finders", "--finders", "lat", "--task", "induce", "--kl", "0.3"]
    arguments += ["--judged-tokens", "6"]
    assert run(arguments) == 0
    said = capfd.readouterr()
    found = BenchResults.load("bench.json")
    assert said.out.splitlines()[0] == found.sentence
    assert "on this machine" in said.err
    assert "LAT" in said.out
    assert {path.name for path in tmp_path.glob("bench*")} == {"bench.json", "bench.frontier.svg", "bench.induce.svg"}
    assert run(arguments) == 2  # it is there already
    assert "is there already" in capfd.readouterr().err
    assert run([*arguments, "--overwrite", "--kl", "much"]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_a_new_operator_is_one_record(model, prompts, r, monkeypatch):
    cubed = Operator(
        "add_cubed",
        lambda x, r, c: x + c**3 * r,
        formula="x + c³ r̂",
        code="x + VALUE**3 * r",
        label="Add the cube",
        word="add the cube",
        purpose="inducing refusal",
        parameter=COEFFICIENT,
        way=Way("refusal"),
    )
    monkeypatch.setitem(OPERATORS, "add_cubed", cubed)
    plain, other = (rhat.calibrate_dose(model, prompts, r, op, 0.3) for op in ("add", "add_cubed"))
    assert other.dose == pytest.approx(math.cbrt(plain.dose), rel=0.03)
