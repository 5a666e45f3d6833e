"""`--seeds`: r̂ on other splits of the same prompts; the taught model, whose prompts are found again by id."""

import json

import pytest

import rhat
import studies
from rhat import results as contract
from rhat.errors import StudyError
from rhat.prompts import SPLITS, Prompt, resplit
from rhat.prompts.contrast import ContrastSet
from rhat.questions import QUESTIONS
from rhat.results import records
from rhat.selection import find
from rhat.study import StudyConfig, run
from rhat.study.cost import find_settings, study_work
from rhat.study.opening import open_model, open_prompts
from rhat.verification import verify
from rhat.verification.kept import read

VERDICT = next(question for question in QUESTIONS if question.key == "stability").verdict


def test_other_splits_hold_the_same_prompts_and_whole_topics():
    texts = [f"{what} number {i}" for what in ("Break the lock", "Paint the door") for i in range(30)]
    prompts = ContrastSet(
        "threes",
        tuple(
            Prompt(text, "harmful" if i < 30 else "harmless", "train", f"p{i}", "", f"t{i // 3}")
            for i, text in enumerate(texts)
        ),
        0,
    )
    one, same, other = resplit(prompts, 1), resplit(prompts, 1), resplit(prompts, 2)
    assert one == same
    assert {p.id: p.split for p in one.prompts} != {p.id: p.split for p in other.prompts}
    assert {p.id for p in one.prompts} <= {p.id for p in prompts.prompts}
    assert len(one.prompts) >= 56
    for label in ("harmful", "harmless"):
        assert all(one.select(label, split) for split in SPLITS)
        for topic in {p.topic for p in one.prompts}:
            assert len({p.split for p in one.prompts if p.topic == topic}) == 1


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    return studies.arguments(tmp_path_factory.mktemp("seeds")) | {"preset": "quick", "only": ("projections", "seeds")}


@pytest.fixture(scope="module")
def two(arguments, tmp_path_factory):
    """The folder of a study of two splits."""
    out = tmp_path_factory.mktemp("two") / "run"
    run(StudyConfig(**arguments, out=out, seeds=2))
    return out


def test_each_row_is_what_finding_and_measuring_on_that_split_gives(two, arguments):
    rows = contract.load(two).splits
    assert [row.split for row in rows] == [0, 1]
    assert rows[0].cosine == pytest.approx(1)
    config = StudyConfig(**arguments, seeds=2)
    model, prompts = open_model(config), resplit(open_prompts(config), 1)
    found = find(model, prompts, find_settings(config))
    assert (rows[1].layer, rows[1].position) == (found.direction.layer, found.direction.position)
    own = rhat.Direction.load(two / "direction.safetensors")
    assert rows[1].cosine == pytest.approx(float(own.unit.double() @ found.direction.unit.double()), abs=1e-5)
    n = len(prompts.select("harmful", "test"))
    assert rows[1].ablate.n == rows[1].baseline_harmful.n == n
    from rhat.study import open_lab

    lab = open_lab(model, prompts, found, "quick")
    assert rows[1].baseline_harmful.rate == lab.measure("baseline", None, "harmful", n).refused.mean()


def test_it_is_verified_and_told(two):
    found = verify(two)
    assert found.checked["splits"] >= 2 * 4 * 4
    told = VERDICT(contract.load(two)).sentence
    assert told.startswith("Found on 1 other split of the same prompts, r̂ is at layer")
    assert "of harmless prompts" in told
    held = contract.read(two)
    held["splits"][1] = {"split": 1, "seed": 1, "outcome": "no_candidate"}
    assert "On 1 of them the search ended without a direction." in VERDICT(records(held)).sentence
    held["splits"][0]["ablate"]["rate"] = 0.9
    (two / "changed").mkdir()
    for name in ("per_prompt.parquet", "completions.jsonl"):
        (two / "changed" / name).write_bytes((two / name).read_bytes())
    (two / "changed" / "results.json").write_text(json.dumps(held))
    with pytest.raises(rhat.RhatError, match=r"splits\[0\]\.ablate\.rate: 0\.9 is written"):
        verify(two / "changed")


def known(folder):
    """The projections that per_prompt.parquet holds."""
    kept = read(folder)
    return {i: v for m in kept for i, v in zip(m.prompt_ids, m.projections, strict=True) if v == v}


def test_more_splits_are_added_to_the_same_study(two, arguments):
    before, ran, projected = contract.load(two), [], known(two)
    assert projected
    after = run(StudyConfig(**arguments, out=two, seeds=3), progress=lambda stage, *_: ran.append(stage))
    rows = records(after).splits
    assert rows[:2] == before.splits
    assert rows[2].seed == 2
    assert "seeds" in ran
    assert "projections" not in ran
    ran.clear()
    run(StudyConfig(**arguments, out=two, seeds=3), progress=lambda stage, *_: ran.append(stage))
    assert "seeds" not in ran
    assert projected == known(two)  # read in a stage that was kept
    assert {"auroc", "histogram"} <= set(verify(two).checked)


def test_its_time_is_told(two, arguments):
    model, prompts = open_model(StudyConfig(**arguments, seeds=2)), open_prompts(StudyConfig(**arguments, seeds=2))
    work = {k: study_work(StudyConfig(**arguments, seeds=k), model, prompts)["seeds"].said() for k in (2, 3)}
    assert work[3]["gflop"] > 1.5 * work[2]["gflop"]
    counted = next(row for row in contract.read(two)["timings"] if row["stage"] == "seeds")
    expected = work[len(contract.load(two).splits)]
    assert expected["block_tokens"] == pytest.approx(counted["block_tokens"], rel=0.5)


def test_it_is_off_unless_asked_for():
    assert "seeds" not in StudyConfig().experiments
    assert "seeds" in StudyConfig(seeds=2).experiments
    assert StudyConfig(only=("induce",), seeds=2).experiments == ("induce", "seeds")
    with pytest.raises(StudyError, match="seeds: got 0, expected at least 1"):
        StudyConfig(seeds=0)
    with pytest.raises(StudyError, match="expected at least 2: how many splits"):
        StudyConfig(only=("seeds",))
