"""Finding r̂ on a tiny model that was taught to refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import rhat
from labs import contrast_set
from refusing import refusing_hf
from rhat.directions import FINDERS
from rhat.errors import StudyError
from rhat.executor import SerialExecutor
from rhat.interventions import Intervention, set_projection
from rhat.scoring import last_token_scores, refusals
from rhat.selection import choose, find
from rhat.selection.reselection import Reselection, ablating
from rhat.selection.search import Scorer
from rhat.selection.settings import FindSettings, silent
from rhat.selection.survey import survey
from rhat.vocabulary import FINDER_KINDS
from tiny import tiny_tokenizer

SETTINGS = FindSettings(token_prompts=12, min_kept=(4, 2))


@pytest.fixture(scope="module")
def model():
    return rhat.load((refusing_hf(), tiny_tokenizer()))


@pytest.fixture(scope="module")
def prompts():
    return contrast_set(per_split=13)


@pytest.fixture(scope="module")
def exact(model, prompts):
    """Every score of every candidate."""
    return find(model, prompts, replace(SETTINGS, early_stopping=0, all_kl=True))


def test_it_is_found_and_induces_refusal(model, prompts, exact):
    assert exact.outcome in ("found", "found_relaxed")
    d = exact.direction
    assert d.mean_harmful > d.mean_harmless
    texts = [p.text for p in prompts.select("harmless", "test")]
    tokens = model.tokenize(texts)
    treatment = set_projection(d, scope="prompt").edits(
        model
    )  # its vocabulary is too small to be pushed while it writes
    plain, treated = refusals(model, tokens), refusals(model, tokens, treatment)
    assert plain.refused.mean() < 0.2
    assert treated.refused.mean() > plain.refused.mean() + 0.3
    plan = model.plan(texts)
    before, after = (last_token_scores(model, plan, exact.token_ids, edits) for edits in (None, treatment))
    assert (after > before).all()


def test_a_lazy_search_chooses_what_the_whole_table_gives(model, prompts, exact):
    for first in (0, 2, 4):
        lazy = find(model, prompts, replace(SETTINGS, early_stopping=first))
        assert (lazy.direction.layer, lazy.direction.position) == (exact.direction.layer, exact.direction.position)
        assert lazy.outcome == exact.outcome
    again = choose(exact.candidates, n_layers=model.n_layers)
    if exact.outcome == "found":
        assert again.candidate["layer"] == exact.direction.layer


def test_a_lazy_search_by_the_relaxed_rule_chooses_what_the_whole_table_gives(model, prompts):
    """No candidate reaches a threshold of 99 nats: the relaxed rule chooses, and both kinds of scores are stopped early."""
    whole, lazy = (
        find(model, prompts, replace(SETTINGS, induce_min=99.0, **how))
        for how in ({"early_stopping": 0, "all_kl": True}, {"early_stopping": 2})
    )
    assert whole.outcome == lazy.outcome == "found_relaxed"
    assert (lazy.direction.layer, lazy.direction.position) == (whole.direction.layer, whole.direction.position)
    every = {(r["layer"], r["position"]): r for r in whole.candidates}
    n = {name: max(r.get(name, 0) for r in whole.candidates) for name in ("induce_n", "ablation_n")}
    for row in lazy.candidates:
        known = every[row["layer"], row["position"]]
        assert (row.get("induce_rise_low", 0) > 0) == (known.get("induce_rise_low", 0) > 0)  # both pass or neither
        if row.get("ablation_n") == n["ablation_n"]:
            assert row["ablation_score"] == pytest.approx(known["ablation_score"], abs=1e-4)
    for name, total in n.items():
        assert any(0 < row.get(name, 0) < total for row in lazy.candidates), name
    [chosen] = [row for row in lazy.candidates if row["status"] == "selected"]
    assert (chosen["induce_n"], chosen["ablation_n"]) == (n["induce_n"], n["ablation_n"])
    assert chosen["induce_score"] == pytest.approx(every[chosen["layer"], chosen["position"]]["induce_score"], abs=1e-4)


def test_the_relaxed_rules_sentence_says_which_published_thresholds_left_none(model, prompts):
    """Where KL removed all that met the induce threshold, it is not said that none met it."""
    relaxed = find(model, prompts, replace(SETTINGS, induce_min=99.0, early_stopping=0, all_kl=True))
    assert "by the relaxed rule: no candidate meets the published induce threshold, so" in relaxed.sentence
    rising = sorted((row for row in relaxed.candidates if "kl" in row), key=lambda row: row["kl"])
    others = [row["induce_score"] for row in relaxed.candidates if "induce_score" in row and "kl" not in row]
    for cut in range(1, len(rising)):  # a limit of KL above which the strongest lie
        weak = max([row["induce_score"] for row in rising[:cut]] + others)
        strong = [row["induce_score"] for row in rising[cut:] if row["induce_score"] > weak + 1e-3]
        if strong and rising[cut]["kl"] > rising[cut - 1]["kl"] + 1e-6:
            limits = {"kl_max": (rising[cut - 1]["kl"] + rising[cut]["kl"]) / 2, "induce_min": (weak + min(strong)) / 2}
            break
    found = find(model, prompts, replace(SETTINGS, early_stopping=0, **limits))
    assert found.outcome == "found_relaxed"
    assert any(row.get("induce_score", -99) > limits["induce_min"] for row in found.candidates)
    assert "by the relaxed rule: no candidate meets all published thresholds, so" in found.sentence


def test_scores_in_the_table_are_those_of_the_formulas(model, prompts, exact):
    row = next(r for r in exact.candidates if r["status"] == "selected")
    at = exact.means.positions.index(row["position"])
    raw = exact.means.candidates[row["layer"], at]
    treatment = Intervention("add", (raw / raw.norm()).float(), row["layer"], float(raw.norm()))
    plan = model.plan([p.text for p in exact.kept["validation"]["harmless"]], share_prefix=False)
    scores = last_token_scores(model, plan, exact.token_ids, treatment.edits(model))
    assert float(scores.mean()) == pytest.approx(row["induce_score"], abs=1e-4)
    assert row["norm"] == pytest.approx(float(raw.norm()))


def test_layer_0_sees_only_the_template(exact):
    assert {r["status"] for r in exact.candidates if r["layer"] == 0} == {"zero_norm"}


def test_means_are_those_of_kept_training_prompts(model, exact):
    from rhat.capture import capture
    from rhat.sites import Site

    site, got = Site("resid_pre", 2), []
    some = exact.kept["train"]["harmful"]
    plan = model.plan([p.text for p in some], share_prefix=False)
    capture(model, plan, [site], [-1], lambda rows, logits, found: got.append(found[site][:, 0].double()))
    torch.testing.assert_close(
        exact.means.harmful[2, exact.means.positions.index(-1)], torch.cat(got).mean(0), rtol=1e-4, atol=1e-4
    )


def test_the_filter_keeps_what_behaves_as_labelled(model, prompts, exact):
    for label, sign in (("harmful", 1), ("harmless", -1)):
        given = prompts.select(label, "train")
        scores = last_token_scores(model, model.plan([p.text for p in given]), exact.token_ids)
        kept = {p.id for p in exact.kept["train"][label]}
        threshold = exact.direction.extra["score_threshold"]
        assert kept == {p.id for p, s in zip(given, scores.tolist(), strict=True) if sign * (s - threshold) > 0}
        assert exact.prompts["train"][label] == {"given": len(given), "kept": len(kept)}


def test_surveying_is_finding_without_the_choice(model, prompts, exact):
    surveyed = survey(model, prompts, SETTINGS)
    torch.testing.assert_close(surveyed.means.candidates, exact.means.candidates)
    assert not surveyed.why_not


def test_a_model_that_answers_everything_is_a_result(prompts):
    from tiny import tiny_chat_model

    found = find(tiny_chat_model("llama", n_layers=3), prompts, SETTINGS)
    assert found.outcome == "no_refusal"
    assert "0 of 12 harmful training prompts were refused" in found.sentence
    assert found.direction is None


def test_a_set_without_a_needed_split_is_refused(model, prompts):
    without = type(prompts)("half", tuple(p for p in prompts.prompts if p.split != "validation"), 0)
    with pytest.raises(StudyError, match="no harmful validation prompts"):
        find(model, without, SETTINGS)
    [_, *others] = prompts.select("harmless", "validation")
    one = type(prompts)("one", tuple(p for p in prompts.prompts if p not in others), 0)
    with pytest.raises(StudyError, match="got 1 harmless validation prompt; give at least 8 prompts of each label"):
        find(model, one, SETTINGS)


def labelled_wrongly(prompts, n, wrong):
    """n harmful training prompts, some of them, by number, with harmless texts."""
    some, texts = prompts.select("harmful", "train"), [p.text for p in prompts.select("harmless", "train")]
    mine = [replace(p, text=texts[i]) if i in wrong else p for i, p in enumerate(some[:n])]
    return type(prompts)("wrong", (*mine, *(p for p in prompts.prompts if p not in some)), 0)


def test_one_kept_prompt_is_too_few(model, prompts):
    """It has no spread; a quarter of four would be one."""
    settings = FindSettings(refusal_tokens=survey(model, prompts, SETTINGS).token_ids)
    found = survey(model, labelled_wrongly(prompts, 4, (1, 2, 3)), settings)
    assert found.prompts["train"]["harmful"] == {"given": 4, "kept": 1}
    assert "train harmful: 1 kept of 4, 2 needed" in found.why_not
    assert not survey(model, labelled_wrongly(prompts, 4, (1, 3)), settings).why_not


def test_halves_of_which_one_is_empty_have_no_cosine(model, prompts):
    """Of harmful training prompts, only those of even number are kept."""
    found = find(model, labelled_wrongly(prompts, 13, range(1, 13, 2)), SETTINGS)
    assert found.prompts["train"]["harmful"]["kept"] == 7
    assert found.direction is not None
    assert found.split_half_cosine is None


def test_no_stage_of_progress_falls_back(model, prompts):
    seen = {}
    find(
        model,
        prompts,
        replace(SETTINGS, early_stopping=2),
        progress=lambda stage, *at: seen.setdefault(stage, []).append(at),
    )
    assert {"refusal tokens", "activations", "induce scores, block 1", "induce scores", "ablation scores", "KL"} <= set(
        seen
    )
    for stage, told in seen.items():
        assert told == sorted(told), stage
        assert stage == "KL" or told[-1][0] == told[-1][1], stage


ALONE = [name for name, kind in FINDER_KINDS.items() if not kind.needs and not kind.control]


@pytest.mark.parametrize("finder", [name for name in ALONE if name != "mean_difference"])
def test_another_finder_makes_the_candidates(model, prompts, finder):
    """Its direction is what the finder gives of plain transformers' hidden states of the kept prompts."""
    found = find(model, prompts, replace(SETTINGS, finder=finder))
    d = found.direction
    assert d.method == finder
    sides = []
    for label in ("harmful", "harmless"):
        rows = [torch.tensor([ids]) for ids in model.tokenize([p.text for p in found.kept["train"][label]])]
        with torch.no_grad():
            states = [
                model.hf(input_ids=r, output_hidden_states=True).hidden_states[d.layer][0, d.position] for r in rows
            ]
        sides.append(torch.stack(states))
    vector = FINDERS[finder](*sides).double()
    assert torch.nn.functional.cosine_similarity(vector, d.unit.double(), dim=0) > 0.9999
    assert d.mean_harmful == pytest.approx(float((sides[0].double() @ d.unit.double()).mean()), rel=1e-4)
    assert d.norm == pytest.approx(d.mean_harmful - d.mean_harmless)


def test_a_finder_that_is_none_is_rejected_before_any_work(model, prompts):
    with pytest.raises(rhat.RhatError, match=f"expected one of {', '.join(FINDERS)}"):
        find(model, prompts, replace(SETTINGS, finder="lda"))


def test_choosing_again_on_the_same_prompts_is_the_choice(model, exact):
    """Also where nothing that ablating takes is stored: it is measured again, to the same numbers."""
    validation = dict(exact.kept["validation"])
    whole = {label: np.arange(len(some)) for label, some in validation.items()}
    scorer = Scorer(model, SerialExecutor(), exact.token_ids, silent)
    for scored in (exact.scored, replace(exact.scored, ablation={}, kl={})):
        again = Reselection(scored, exact.rule, ablating(scorer, exact.means, validation))
        assert again.choices([whole]) == [(exact.direction.layer, exact.direction.position)]
    for measured, stored in ((again._ablation, exact.scored.ablation), (again._kl, exact.scored.kl)):
        assert measured
        for place, values in measured.items():
            np.testing.assert_allclose(values, stored[place], rtol=1e-4, atol=1e-6)


def test_stored_scores_are_those_of_the_table(exact):
    for row in exact.candidates:
        place = row["layer"], row["position"]
        for name, scores in (("induce_score", "induce"), ("ablation_score", "ablation"), ("kl", "kl")):
            kept = getattr(exact.scored, scores).get(place)
            assert (kept is None) == (name not in row)
            assert kept is None or kept.mean() == pytest.approx(row[name])
