"""A small bench on a tiny model that was taught to refuse; doses, refusals and KL against plain transformers."""

import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import rhat
from labs import tiny_lab
from rhat.benching import BenchResults, BenchSettings, bench, figures
from rhat.benching.cost import bench_work
from rhat.benching.courses import Course
from rhat.benching.dosing import Dosed, dose_row, dosed, searched_topics
from rhat.benching.entries import Bench, Entry, Left
from rhat.benching.measure import _lab, _treatments
from rhat.benching.operators import operators
from rhat.benching.settings import TASKS
from rhat.benching.tables import tables
from rhat.errors import ArtifactError, StudyError
from rhat.executor import SerialExecutor
from rhat.model.work import counting
from rhat.scoring.pieces import Pieces
from rhat.selection.cost import Answers, total
from rhat.selection.settings import silent
from rhat.vocabulary import OPERATORS, PROMPTINGS, Operator, Way
from rhat.vocabulary.parameters import COEFFICIENT
from tiny import tiny_tokenizer

KL = 2.0
SETTINGS = BenchSettings(
    only=("finders", "rules", "baselines"), finders=("lat", "category", "given"), kl=(KL,), judged_tokens=10
)
OPERATED = BenchSettings(only=("operators",), tasks=("remove",), kl=(0.3, 9.0), judged_tokens=10)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def counted(model, prompts, r, kept):
    """A bench, and the work that it took."""
    with counting() as ledger:
        found = bench(model, prompts, r, SETTINGS, pieces=Pieces.of(kept, model))
    return found, ledger.total


@pytest.fixture(scope="module")
def found(counted):
    return counted[0]


@pytest.fixture(scope="module")
def operated(model, prompts, r):
    """What the operators offer, the rows of their doses, and what is left out by condition, task and KL; nothing is answered."""
    given = Bench(_lab(model, prompts, r, OPERATED, None, silent, None, None), OPERATED)
    offered, task = operators(given), TASKS["remove"]
    found, left = dosed(given, [one for one in offered if isinstance(one, Entry)], task)
    why = {(row.name, row.kl): row.reason for row in left}
    why |= {(one.name, None): one.reason for one in offered if isinstance(one, Left)}
    return offered, [dose_row(searched_topics(given, task), one, task) for one in found], why


FORMULAS = {  # of enough operators: x[..., d], r[d], v
    "add": lambda x, r, v: x + v * r,
    "subtract": lambda x, r, v: x - v * r,
    "set_projection": lambda x, r, v: x + (v - x @ r)[..., None] * r,
    "scale": lambda x, r, v: x + (v - 1) * (x @ r)[..., None] * r,
}


class Edited:
    """transformers' own model with an edit of what enters a block."""

    def __init__(self, model, layer, edit):
        self.block, self.edit = model.hf.model.layers[layer], edit

    def __enter__(self):
        self.hook = self.block.register_forward_pre_hook(
            lambda _module, args, kwargs: ((self.edit(args[0]), *args[1:]), kwargs), with_kwargs=True
        )

    def __exit__(self, *_):
        self.hook.remove()


def logits(model, sequences):
    with torch.no_grad():
        found = [model.hf(input_ids=torch.tensor([list(ids)])).logits[0, -1] for ids in sequences]
    return torch.stack(found).double().log_softmax(-1)


def kl(base, other):
    return float((base.exp() * (base - other)).sum(-1).mean())


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
    assert tried == set(FORMULAS)


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


def test_tables_and_figures_hold_every_condition(found, tmp_path):
    shown = {table.caption: table for table in tables(found)}
    assert len(shown) == 5
    induced = shown["Inducing refusal: harmless test prompts"]
    assert len(induced.rows) == len({row.condition for row in found.damage if row.task == "induce"})
    within = [head.title for head in induced.heads].index("Within 10 %")
    assert {row[within] for row in induced.rows} == {"yes", ""}
    files = figures.write(found, tmp_path / "bench.json")
    assert [file.name for file in files] == [
        f"bench.{name}.svg" for name in ("frontier", "induce", "remove", "over-refusal")
    ]
    drawn = figures.frontier(found)
    assert sum(len(trace.x) for trace in drawn.data) == len(found.frontier)
    assert found == BenchResults.load(found.save(tmp_path / "bench.json"))


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
    rows = [line for line in written.partition(module.BEGIN)[2].splitlines() if line.startswith("| ")]
    assert len(rows) == sum(2 + len(table.rows) for table in tables(found))  # heads and the rule below them
    (before, _, after), (kept, _, rest) = text.partition(module.BEGIN), written.partition(module.BEGIN)
    assert (before, after.partition(module.END)[2]) == (kept, rest.partition(module.END)[2])
    assert module.page(written, found, "rhat bench -d r.safetensors") == written


class Counted(SerialExecutor):
    """Counts the shards that are worked on."""

    shards = 0

    def map(self, task, model, common, shards, **options):
        self.shards += len(shards)
        return super().map(task, model, common, shards, **options)


def test_what_was_kept_is_not_done_again(model, prompts, r, found, kept):
    executor = Counted()
    again = bench(model, prompts, r, SETTINGS, executor=executor, pieces=Pieces.of(kept, model))
    assert executor.shards == 0
    assert {**again.plain(), "timings": []} == {**found.plain(), "timings": []}


def test_work_is_expected_as_it_comes(model, prompts, r, counted):
    settings = replace(SETTINGS, finders=("lat",))  # what can be expected to be there
    expected = total(bench_work(model, prompts, r, settings, answers=Answers(10.0, 24, 0.0)))
    assert expected.flop == pytest.approx(counted[1].flop, rel=0.4)


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


def test_what_was_found_on_test_prompts_is_not_tested_on_them():
    lab = tiny_lab()
    unit = torch.nn.functional.normalize(torch.ones(lab.model.d_model), dim=0)
    entry = Entry("finder", "false_refusal", unit, 1, seen=("borderline", "twin"))
    one = Dosed(entry, Course("add", "refusal", 0.0, 1.0), 0.2, 1.5, np.full(4, 0.2))
    given = Bench(lab, BenchSettings())
    for task, there in (("induce", True), ("over-refusal", False)):
        treatments, left = _treatments(given, [one], TASKS[task])
        assert ("finder:false_refusal@0.2" in treatments) is there
        assert [(row.name, row.task, row.kl) for row in left] == ([] if there else [("false_refusal", task, 0.2)])


@pytest.mark.parametrize(
    "given",
    [{"only": ("gauges",)}, {"tasks": ()}, {"kl": (0.0,)}, {"kl": (0.2, 0.2)}, {"preset": "full"}, {"margin": 0.0}],
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
    model.hf.save_pretrained("model")
    tiny_tokenizer().save_pretrained("model")
    for label in ("harmful", "harmless"):
        rows = [{"prompt": p.text, "split": p.split} for p in prompts.prompts if p.label == label]
        (tmp_path / f"{label}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    r._with(model={}).save("r.safetensors")
    arguments = [
        "bench",
        "-d",
        "r.safetensors",
        "-m",
        "model",
        "--harmful",
        "harmful.jsonl",
        "--harmless",
        "harmless.jsonl",
    ]
    arguments += ["--dtype", "float32", "--only", "finders", "--finders", "lat", "--task", "induce", "--kl", "0.3"]
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


def test_matched_random_directions_are_dealt_in_turn(found):
    doses = [row for row in found.doses if row.condition.startswith("control:") and row.task == "induce"]
    assert len({row.seed for row in doses}) == len(doses) == 4
    assert np.std([row.dose for row in doses]) > 0
    [row] = [row for row in found.rates if (row.condition, row.prompts) == (f"control:random@{KL:g}", "harmless")]
    assert row.n == 13
