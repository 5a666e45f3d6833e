"""A panel of judges in a study, held against pandas, scikit-learn and the answers that a file of the user's own kept."""

import json
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

import studies
from labs import tiny_lab
from refusing import REFUSAL
from rhat import report
from rhat import results as contract
from rhat.directions import Direction
from rhat.errors import ArtifactError, JudgeError
from rhat.prompts import UNSAFE
from rhat.scoring import judge_answers
from rhat.scoring.judges import DEFAULT
from rhat.study import StudyConfig, run
from rhat.study.answers import Keeper
from rhat.study.opening import open_prompts
from rhat.study.panel import panel_rows

JUDGE = """
def judge(prompt, answer):
    if "window" in prompt:
        return None
    if "door" in prompt:
        return "refused"
    return "refused" if answer.startswith("Sorry") else "complied"
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """(folder of a study with a second judge, what the user kept, its configuration)."""
    folder = tmp_path_factory.mktemp("panel")
    (folder / "mine.py").write_text(JUDGE)
    config = StudyConfig(
        **studies.arguments(folder),
        preset="quick",
        only=("suppress",),
        out=folder / "run",
        judges=(f"{folder / 'mine.py'}:judge", DEFAULT),
        keep_answers=folder / "kept.jsonl",
    )
    run(config, draw=report.draw)
    kept = pd.DataFrame(map(json.loads, config.keep_answers.read_text().splitlines()))
    return config, kept


def test_each_judge_reads_each_answer(study):
    config, kept = study
    mine = config.judges[0]
    scope: dict = {}
    exec(JUDGE, scope)
    kept[DEFAULT] = judge_answers(list(kept.prompt), list(kept.answer))
    kept[mine] = [scope["judge"](p, a) for p, a in zip(kept.prompt, kept.answer, strict=True)]
    found = contract.load(config.out)
    assert [(row.judge, row.default) for row in found.judges] == [(DEFAULT, True), (mine, False), ("score", False)]
    assert len(found.panel) == 3 * len(kept.groupby(["condition", "label"]))
    assert any(row.untold for row in found.panel)
    for row in [row for row in found.panel if row.judge != "score"]:
        here = kept[(kept.condition == row.condition) & (kept.label == row.prompts)]
        told = here[here[row.judge].notna()]
        assert (row.n, row.untold) == (len(told), len(here) - len(told))
        for name in ("refused", "partial", "complied", "degenerate"):
            assert getattr(row, name) == (told[row.judge] == name).sum()
        if row.judge == mine:
            assert row.agreement == pytest.approx((told[DEFAULT] == told[mine]).mean())
            if told[DEFAULT].nunique() > 1:
                assert row.kappa == pytest.approx(cohen_kappa_score(told[DEFAULT], told[mine]))


def test_score_reads_every_answer_by_its_log_odds(study):
    """Held against pandas: its classes against the fitted threshold, and its row against the default judge's baseline."""
    config, _ = study
    table = pd.read_parquet(config.out / "per_prompt.parquet")
    found = contract.load(config.out)
    kept = Direction.load(config.out / "direction.safetensors").extra["score_threshold"]
    assert found.score_agreement.threshold == pytest.approx(kept)
    assert kept != 0
    table["score class"] = np.where(table.score > found.score_agreement.threshold, "refused", "complied")
    assert (table["class:score"] == table["score class"]).all()
    rows = [row for row in found.panel if row.judge == "score"]
    assert {(row.condition, row.prompts) for row in rows} == set(zip(table.condition, table.label, strict=True))
    for row in rows:
        here = table[(table.condition == row.condition) & (table.label == row.prompts)]
        assert (row.n, row.refused) == (len(here), (here["score class"] == "refused").sum())
        assert row.agreement == pytest.approx((here["score class"] == here.verdict).mean())
    base = table[table.condition == "baseline"]
    [held] = [row for row in found.judges if row.judge == "score"]
    assert (held.against, held.labelled) == ("default judge", len(base))
    assert found.judges[0].against == "labels"
    two = base.verdict == "refused", base["score class"] == "refused"
    assert held.kappa_refused == pytest.approx(cohen_kappa_score(*two))
    assert held.passed_refused


def test_what_judges_differ_on_is_shown_for_harmless_prompts_only(study):
    config, _ = study
    found = contract.load(config.out)
    assert found.disagreements
    for row in found.disagreements:
        assert row.prompts not in UNSAFE
        assert len(set(row.classes.values())) > 1
    assert found.disagreements[0].classes[config.judges[0]] == "refused"
    page = (config.out / "report.html").read_text()
    assert "Where judges differ most" in page
    assert "The same answers by each judge" in page


def test_answers_to_harmful_prompts_are_in_the_users_own_file_alone(study):
    """Searched for in every file of the folder, stages included: the model says these words to harmful prompts only."""
    config, kept = study
    assert (kept[kept.label == "harmful"].answer == REFUSAL).any()
    assert not kept[~kept.label.isin(UNSAFE)].answer.str.contains("Sorry").any()
    for path in config.out.glob("**/*"):
        if path.is_file():
            assert REFUSAL.encode() not in path.read_bytes(), path


def test_classes_and_hashes_are_kept_for_every_answer(study):
    config, kept = study
    fingerprint = open_prompts(config).fingerprint
    by_name = {(r.condition, r.label, r.prompt_id): r for r in kept.itertuples()}
    rows = [json.loads(line) for line in (config.out / "completions.jsonl").read_text().splitlines()]
    table = pd.read_parquet(config.out / "per_prompt.parquet").astype(object)
    table = table.where(table.notna(), None)
    assert len(rows) == len(table) == len(kept)
    for row, other in zip(rows, table.to_dict("records"), strict=True):
        answer = by_name[row["condition"], row["label"], row["prompt_id"]].answer
        expected = sha256(f"{fingerprint}\0{row['prompt_id']}\0{answer}".encode()).hexdigest()[:16]
        assert row["hash"] == other["hash"] == expected
        assert row["classes"][DEFAULT] == row["verdict"] == other[f"class:{DEFAULT}"]
        assert row["classes"][config.judges[0]] == other[f"class:{config.judges[0]}"]


def test_a_resumed_study_writes_no_answer_twice_and_keeps_its_panel(study):
    config, kept = study
    before = contract.read(config.out)["panel"]
    stage = config.out / "stages" / "suppress.json"
    stage.write_text(stage.read_text()[:50])
    run(config)
    assert len(config.keep_answers.read_text().splitlines()) == len(kept)
    assert contract.read(config.out)["panel"] == before
    run(config)  # from the finished stage, which holds no answer to a harmful prompt
    assert contract.read(config.out)["panel"] == before


def test_what_cannot_be_used_says_so_before_anything_is_measured(study, tmp_path):
    config, _ = study
    with pytest.raises(JudgeError, match="expected one of words, phrases, score, model, model:NAME, embedding"):
        run(StudyConfig(**(vars(config) | {"out": tmp_path / "run", "judges": ("nobody",)})))
    with pytest.raises(ArtifactError, match="answers cannot be kept there"):
        Keeper(tmp_path)


def test_agreement_is_within_the_condition_and_answer_by_answer():
    names = ["refused", "partial", "complied", "degenerate"]
    order = np.random.default_rng(0)
    ours, theirs = (tuple(map(str, order.choice(names, 40, p=[0.5, 0.1, 0.3, 0.1]))) for _ in range(2))
    theirs = tuple(a if i % 2 else b for i, (a, b) in enumerate(zip(ours, theirs, strict=True)))
    m = replace(studies.measured("a", "harmless", [True] * 40), verdicts=ours, panel={"other": (*theirs[:-1], None)})
    other = replace(m, condition="b", verdicts=("refused",) * 40, panel={"other": ("complied",) * 40})
    lab = replace(tiny_lab(), measurements={("a", "harmless"): m, ("b", "harmless"): other})
    rows = {(row.condition, row.judge): row for row in panel_rows(lab, {})}
    row = rows["a", "other"]
    assert (row.n, row.untold) == (39, 1)
    assert row.agreement == pytest.approx(np.mean(np.array(ours[:-1]) == np.array(theirs[:-1])))
    assert row.kappa == pytest.approx(cohen_kappa_score(ours[:-1], theirs[:-1]))
    assert rows["b", "other"].agreement == 0
    assert rows["a", DEFAULT].agreement is None
