"""Controls that match: what they are made of, and r̂'s rank among them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu

from labs import tiny_lab
from rhat.errors import StatisticsError
from rhat.interventions import Intervention
from rhat.lab.ranked import matched_controls as matched_effects
from rhat.questions.induce.figures import matched_controls
from rhat.questions.induce.measure import controls
from rhat.questions.induce.rows import Rows
from rhat.questions.induce.tables import tables
from rhat.questions.induce.verdict import _controls_reason
from rhat.statistics.permutation import among

KINDS = {"isotropic", "covariance_matched", "permuted_labels", "harmless_topic"}


@pytest.fixture(scope="module")
def lab():
    return tiny_lab()


@pytest.fixture(scope="module")
def rows(lab):
    part = controls(lab)
    assert isinstance(part, Rows)
    return part


def test_every_kind_is_orthogonal_to_rhat_and_of_unit_length(lab):
    found = lab.control_units()
    assert set(found) == KINDS
    for units in found.values():
        assert len({tuple(unit.tolist()) for unit in units}) == len(units) == lab.sizes.randoms
        for unit in units:
            assert float(unit.norm()) == pytest.approx(1, abs=1e-5)
            assert abs(float(unit @ lab.direction.unit)) < 1e-5


def test_covariance_matched_draws_have_the_covariance_of_the_activations(lab):
    """Among many draws, the share of variance along each principal axis is that of the activations without r̂."""
    layer = lab.direction.layer
    sides = [lab.training[label][:, layer].double() for label in ("harmful", "harmless")]
    x = torch.cat([side - side.mean(0) for side in sides]).numpy()
    unit = lab.direction.unit.double().numpy()
    x = x - np.outer(x @ unit, unit)
    values, axes = np.linalg.eigh(x.T @ x)
    drawn = torch.stack(lab.covariance_units(600)).double().numpy() @ axes
    top = np.argsort(values)[::-1][:2]
    shares = (drawn**2).mean(0)
    assert shares[top].sum() > 0.5 * values[top].sum() / values.sum()
    assert np.corrcoef(shares, values)[0, 1] > 0.95


def test_a_topic_direction_is_the_difference_between_two_harmless_categories(lab):
    some = lab.finding.kept["train"]["harmless"]
    x = lab.training["harmless"][:, lab.direction.layer].double()
    means = [x[[i for i, p in enumerate(some) if p.category == f"category {k}"]].mean(0) for k in range(3)]
    unit = lab.direction.unit.double()
    pairs = [means[a] - means[b] for a, b in ((0, 1), (0, 2), (1, 2))]
    flat = [(gap - (gap @ unit) / (unit @ unit) * unit) for gap in pairs]
    for found in lab.topic_units(3):
        assert (
            max(abs(float(torch.nn.functional.cosine_similarity(found.double(), gap, dim=0))) for gap in flat)
            > 1 - 1e-6
        )


def test_effects_are_those_of_the_edit_alone(lab, rows):
    """At equal displacement: the score under setting one control to its harmless mean plus the gap, minus the unedited score."""
    from rhat.scoring import last_token_scores

    row = next(
        r
        for r in rows.matched_controls
        if (r.kind, r.seed, r.match, r.op) == ("harmless_topic", 1, "displacement", "set_projection")
    )
    unit = lab.control_units()["harmless_topic"][1]
    at = lab.means.positions.index(-1)
    mean = float(lab.means.harmless[lab.direction.layer, at].double() @ unit.double())
    plan = lab.model.plan([p.text for p in lab.test("harmless", row.n)], share_prefix=False)
    treatment = Intervention("set_projection", unit, lab.direction.layer, mean + lab.gap)
    after, before = (
        last_token_scores(lab.model, plan, lab.tokens, edits).numpy() for edits in (treatment.edits(lab.model), {})
    )
    np.testing.assert_allclose(row.effects, after - before, rtol=1e-5, atol=1e-7)


def test_ranks_follow_from_the_rows(rows):
    """A reader of results.json gets every rank and p again from the controls' own numbers, prompt by prompt."""
    assert {rank.op for rank in rows.control_ranks} == {"set_projection", "add", "ablate"}
    assert {rank.kind for rank in rows.control_ranks} == KINDS | {"all"}
    for rank in rows.control_ranks:
        mine = [r for r in rows.matched_controls if (r.op, r.match) == (rank.op, rank.match)]
        ours = next(np.mean(r.effects) for r in mine if r.kind == "rhat")
        others = [np.mean(r.effects) for r in mine if r.kind == rank.kind or (rank.kind == "all" and r.kind != "rhat")]
        above = sum(one >= ours for one in others)
        assert rank.rank == above + 1
        assert rank.p == pytest.approx((above + 1) / (len(others) + 1))
        assert rank.n_controls == len(others)


def test_controls_of_equal_damage_do_equal_damage(rows):
    for op in ("set_projection", "add"):
        mine = [r for r in rows.matched_controls if (r.op, r.match) == (op, "damage")]
        target = next(r.kl_mean for r in mine if r.kind == "rhat")
        off = sum(not 1 / 1.5 <= r.kl_mean / target <= 1.5 for r in mine)
        assert off <= len(mine) / 4
        assert off == next(
            rank.apart for rank in rows.control_ranks if (rank.op, rank.match, rank.kind) == (op, "damage", "all")
        )


def test_controls_go_the_way_of_a_harmful_mean_below_0(lab):
    """Adding and subtracting a number below 0: as much, and that way, for r̂ and for every control."""
    from rhat.scoring import last_token_scores

    d, gap = lab.direction, lab.gap
    below = replace(d, mean_harmful=-0.9 * gap, mean_harmless=-1.9 * gap)
    turned = replace(lab, finding=replace(lab.finding, direction=below))
    rows = matched_effects(turned)["matched_controls"]
    assert all(row["dose"] > 0 for row in rows if row["op"] == "set_projection")
    mine = [row for row in rows if row["op"] != "set_projection"]
    assert all(row["dose"] < 0 for row in mine)
    assert {row["dose"] for row in mine if row["match"] == "displacement"} == {below.mean_harmful}
    row = next(r for r in mine if (r["op"], r["kind"], r["match"]) == ("add", "isotropic", "damage"))
    plan = lab.model.plan([p.text for p in lab.test("harmless", row["n"])], share_prefix=False)
    treatment = Intervention("add", lab.control_units()["isotropic"][row["seed"]], d.layer, row["dose"])
    after, before = (
        last_token_scores(lab.model, plan, lab.tokens, edits).numpy() for edits in (treatment.edits(lab.model), {})
    )
    np.testing.assert_allclose(row["effects"], after - before, rtol=1e-5, atol=1e-7)


def test_p_is_the_exact_rank_test_of_one_against_the_controls():
    controls = np.random.default_rng(0).normal(size=20)
    for value in (-1.0, 0.3, 9.0):
        truth = mannwhitneyu([value], controls, alternative="greater", method="exact")
        assert among(value, controls).p == pytest.approx(truth.pvalue)


@pytest.mark.parametrize("verdict", ["better", "undecided"])
def test_the_sentence_says_what_the_rank_shows(rows, verdict):
    rank = next(one for one in rows.control_ranks if (one.kind, one.match, one.op) == ("all", "damage", "add"))
    told = _controls_reason(rank.changed(verdict=verdict, p=0.0123, rank=1, n_controls=80, apart=2))
    assert ("Adding r̂ does more than 80 control directions at equal damage" in told) == (verdict == "better")
    assert ("is not shown to do more" in told) == (verdict == "undecided")
    assert "it ranks 1 of 81 (p = 0.012)" in told
    assert "the damage of 2 controls could not be matched" in told


@pytest.mark.parametrize(
    ("rank", "words"), [(1, "does more than"), (2, "does more than most of"), (4, "does more than most of")]
)
def test_a_clear_rank_that_is_not_the_first_is_not_more_than_all(rows, rank, words):
    row = next(one for one in rows.control_ranks if (one.kind, one.match, one.op) == ("all", "damage", "add"))
    told = _controls_reason(row.changed(verdict="better", p=rank / 81, rank=rank, n_controls=80))
    assert f"Adding r̂ {words} 80 control directions at equal damage: it ranks {rank} of 81 " in told


def test_the_figure_draws_every_direction_once(rows):
    from rhat import results as contract

    head = {"schema_version": contract.SCHEMA_VERSION, "outcome": "found", "outcome_sentence": "made up"}
    model = {"name": "m", "d_model": 8, "n_layers": 3, "dtype": "float32", "family": "llama"}
    found = contract.records(head | {"model": model, **rows.plain()})
    figure = matched_controls(found)
    assert sum(len(trace.x) for trace in figure.data) == len(rows.matched_controls)
    assert len(figure.data) == 6
    [table] = [one for one in tables(found) if one.caption == "r̂ among control directions"]
    assert len(table.rows) == len(rows.control_ranks)


def test_twenty_controls_are_the_fewest_that_can_decide():
    assert among(9.0, np.zeros(20)).p < 0.05
    assert among(9.0, np.zeros(18)).p > 0.05
    assert among(0.0, np.zeros(20)).p == 1


def test_no_controls_are_rejected():
    with pytest.raises(StatisticsError):
        among(1.0, [])


def test_the_standard_preset_tests_ablating_too_on_fewer_prompts(studied):
    from rhat import results as contract

    found = contract.load(studied)
    ranks = found.part(Rows).control_ranks
    assert {rank.op for rank in ranks} == {"set_projection", "add", "ablate"}
    sizes = {row.op: row.n for row in found.part(Rows).matched_controls}
    assert (sizes["set_projection"], sizes["add"], sizes["ablate"]) == (13, 13, 6)
    assert all(rank.n_controls >= 20 for rank in ranks if rank.kind not in ("all", "harmless_topic"))
