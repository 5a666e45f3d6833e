from dataclasses import replace

import numpy as np
import pytest
import torch

from labs import tiny_lab
from rhat import results as contract
from rhat.artifacts.judging import adjust
from rhat.artifacts.rows import Comparison
from rhat.interventions import Intervention, ablate, add, set_projection
from rhat.lab import Lab, RotatedControls
from rhat.lab.rows import merge
from rhat.questions import QUESTIONS
from rhat.scoring import last_token_scores
from rhat.study import EXPERIMENTS, NAMES, PRESETS


@pytest.fixture(scope="module")
def lab():
    return tiny_lab()


def whole(lab, part):
    """Enough of a results.json around a part to check it against the contract."""
    return {
        "schema_version": contract.SCHEMA_VERSION,
        "outcome": "found",
        "outcome_sentence": "made up",
        "model": lab.model.describe(),
        "conditions": dict(lab.conditions),
        **part,
    }


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_gives_what_the_contract_asks_for(lab, name):
    part = EXPERIMENTS[name](lab)
    contract.check(whole(lab, part.plain()))
    assert part.plain() or name in ("audit", "seeds")  # these add no rows of their own here


@pytest.mark.parametrize("n", [2, 3])
def test_as_few_test_prompts_as_there_may_be_have_no_rank_correlation(lab, n):
    few = [p for label in ("harmful", "harmless") for p in lab.test(label, n)]
    prompts = replace(lab.prompts, prompts=(*few, *(p for p in lab.prompts.prompts if p.split != "test")))
    part = EXPERIMENTS["damage"](Lab(lab.model, prompts, lab.finding, lab.sizes)).plain()
    contract.check(whole(lab, part))
    assert "spearman_projection_gap" not in part["ablate_vs_subtract"]
    assert "spearman_projection_gap" in EXPERIMENTS["damage"](lab).plain()["ablate_vs_subtract"]


def test_scores_of_a_lab_are_those_of_a_plain_run(lab):
    """Resuming from a kept layer, in the plan's batches, changes nothing."""
    treatment = set_projection(lab.direction)
    fast, _ = lab.score(treatment, "harmless", 8)
    plan = lab.model.plan([p.text for p in lab.test("harmless", 8)], share_prefix=False)
    slow = last_token_scores(lab.model, plan, lab.tokens, treatment.edits(lab.model))
    np.testing.assert_allclose(fast, slow.numpy(), rtol=1e-9)


def test_scores_on_the_way_of_generation_are_the_same(lab):
    treatment = add(lab.direction)
    m = lab.measure("check:add", treatment, "harmless", 8, kl=True)
    scores, kl = lab.score(treatment, "harmless", 8, kl=True)
    np.testing.assert_allclose(m.scores, scores, rtol=1e-9)
    np.testing.assert_allclose(m.kl, kl, rtol=1e-6, atol=1e-12)


def test_dealt_controls_are_each_prompts_own(lab):
    """Prompt i under control i mod k: the same as running that control alone on that prompt."""
    both = tuple(Intervention("set_projection", unit, lab.direction.layer, 3.0) for unit in lab.random_units()[:2])
    dealt = lab.measure_conditions({"check:dealt": RotatedControls(both)}, "harmless", 6)["check:dealt"]
    alone = [lab.score(treatment, "harmless", 6)[0] for treatment in both]
    np.testing.assert_allclose(dealt.scores, [alone[i % 2][i] for i in range(6)], rtol=1e-9)


def test_conditions_that_share_a_batch_answer_as_each_does_alone(lab):
    treatments = {"each:nothing": None, "each:set": set_projection(lab.direction), "each:ablate": ablate(lab.direction)}
    together = lab.measure_conditions(treatments, "harmless", 8, kl=True)
    assert list(together) == list(treatments)
    for name, treatment in treatments.items():
        alone = lab.measure(f"alone:{name}", treatment, "harmless", 8, kl=True)
        assert together[name].prompt_ids == alone.prompt_ids
        assert together[name].texts == alone.texts
        assert together[name].verdicts == alone.verdicts
        np.testing.assert_allclose(together[name].scores, alone.scores, rtol=1e-9)
        np.testing.assert_allclose(together[name].kl, alone.kl, rtol=1e-6, atol=1e-12)
    assert len({m.texts for m in together.values()}) > 1


def test_what_is_measured_already_is_not_measured_again(lab, monkeypatch):
    first = lab.measure_conditions({"each:once": set_projection(lab.direction)}, "harmless", 6)
    monkeypatch.setattr(type(lab), "answered", None)
    again = lab.measure_conditions({"each:once": set_projection(lab.direction)}, "harmless", 4)
    assert again["each:once"].texts == first["each:once"].texts[:4]


def test_random_controls_are_orthogonal_and_shifted_as_far_as_the_real_edit(lab):
    at = lab.means.positions.index(-1)
    for unit in lab.random_units():
        assert abs(float(unit @ lab.direction.unit)) < 1e-5
        harmless_mean = float(lab.means.harmless[lab.direction.layer, at] @ unit.double())
        assert lab.random_target(unit) - harmless_mean == pytest.approx(lab.gap, rel=1e-5)
    assert lab.gap == pytest.approx(lab.direction.mean_harmful - lab.direction.mean_harmless)


def test_kept_tests_took_no_part_in_finding(lab):
    used = {p.id for sides in lab.finding.kept.values() for some in sides.values() for p in some}
    assert used.isdisjoint(p.id for label in ("harmful", "harmless") for p in lab.test(label))


def test_a_subset_of_a_measurement_is_a_measurement(lab):
    m = lab.measure("baseline", None, "harmless", 12)
    again = lab.measure("baseline", None, "harmless", 5)
    assert again.prompt_ids == m.prompt_ids[:5]
    np.testing.assert_array_equal(again.scores, m.scores[:5])


def test_merge_appends_lists_and_replaces_what_is_single():
    results = {"rates": [1], "near_zero": {"a": 1}, "n": 1}
    merge(results, {"rates": [2], "near_zero": {"b": 2}, "n": 3, "new": []})
    assert results == {"rates": [1, 2], "near_zero": {"b": 2}, "n": 3, "new": []}


def test_holm_is_within_a_question():
    names = {"treatment": "a", "reference": "b", "prompts": "harmless", "n": 100, "difference": 0.2}
    ends = {"ci_low": 0.01, "ci_high": 0.3, "ci90_low": 0.02, "ci90_high": 0.28, "margin": 0.1}
    plain = names | ends | {"equivalent": False, "noninferior": True, "verdict": "better"}
    rows = [plain | {"question": "induce", "mcnemar_p": p} for p in (0.01, 0.04, 0.06)]
    rows += [plain | {"question": "suppress", "mcnemar_p": 0.04}]
    adjusted = adjust([Comparison.of(row) for row in rows])
    assert [r.holm_p for r in adjusted] == pytest.approx([0.03, 0.08, 0.08, 0.04])
    assert [r.verdict for r in adjusted] == ["better", "undecided", "undecided", "better"]


@pytest.mark.parametrize("name", ["repe", "projections", "over_refusal", "guard", "stability", "heads"])
def test_an_experiment_alone_lacks_nothing(lab, name):
    """Experiments ask the lab for what they need: run alone, one gives what it gives after all the others."""
    after = EXPERIMENTS[name](lab).plain()
    alone = EXPERIMENTS[name](tiny_lab()).plain()
    assert alone.keys() == after.keys()
    for key in ("comparisons", "auroc_within", "rates"):
        assert [row.get("treatment", row.get("condition")) for row in alone.get(key, [])] == [
            row.get("treatment", row.get("condition")) for row in after.get(key, [])
        ]


def test_every_experiment_of_the_table_is_a_function_of_its_measure_module():
    assert tuple(EXPERIMENTS) == NAMES
    for question in QUESTIONS:
        for experiment in question.experiments:
            assert EXPERIMENTS[experiment.name].__module__ == f"rhat.questions.{question.key}.measure"
            assert set(experiment.presets) <= set(PRESETS)


def test_pca_agrees_with_scikit_learn(lab):
    from sklearn.decomposition import PCA

    from rhat.lab.components import principal_components

    x = torch.randn(40, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scores, axes, explained = principal_components(x)
    truth = PCA(2).fit(x.numpy())
    np.testing.assert_allclose(explained.numpy(), truth.explained_variance_ratio_, rtol=1e-9)
    np.testing.assert_allclose(np.abs((axes.numpy() * truth.components_).sum(1)), [1, 1], rtol=1e-9)
    np.testing.assert_allclose(np.abs(scores.numpy()), np.abs(truth.transform(x.numpy())), rtol=1e-7, atol=1e-9)


def test_pca_rows_point_along_rhat(lab):
    rows = EXPERIMENTS["pca"](lab).plain()["pca"]
    assert all(row["cosine_pc1_rhat"] >= 0 for row in rows)
    assert {p["prompt_id"] for p in rows[0]["points"]} <= {p.id for p in lab.prompts.prompts}


def test_setting_is_adding_what_is_missing(lab):
    """Where every token's projection is the same, set's effect is add's at t minus it: the identity behind question 1."""
    x = torch.randn(5, lab.model.d_model, dtype=torch.float64)
    from rhat.vocabulary import OPERATORS

    u = lab.direction.unit.double()
    u = u / u.norm()
    t = 2.5
    for row in x:
        torch.testing.assert_close(
            OPERATORS["set_projection"](row[None], u, t),
            OPERATORS["add"](row[None], u, float(t - row @ u)),
            rtol=1e-9,
            atol=1e-9,
        )


def test_damage_is_compared_at_the_same_damage(lab):
    both = EXPERIMENTS["damage"](lab).plain()
    rows = {row["condition"]: row for row in both["damage"]}
    for pair in both["ablate_vs_subtract"]["matched"]:
        assert 1 / 1.5 <= pair["kl_treatment"] / pair["kl_reference"] <= 1.5
        sites = rows[pair["treatment"]]["sites"], rows[pair["reference"]]["sites"]
        assert pair["sites"] == (sites[0] if sites[0] == sites[1] else "mixed")
        assert rows[pair["treatment"]]["op"] == "subtract"
    assert {pair["sites"] for pair in both["ablate_vs_subtract"]["matched"]} == {"mixed", "own layer", "all layers"}
