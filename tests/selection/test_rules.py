"""Every selection rule on a real search of a tiny model that was taught to refuse, against plain numpy and plain transformers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import rhat
from labs import contrast_set
from refusing import refusing_hf
from rhat.display import wording
from rhat.errors import StudyError
from rhat.prompts import ContrastSet
from rhat.scoring.judges import JUDGES
from rhat.selection import find
from rhat.selection.given_direction import finding_for
from rhat.selection.reselection import RULES as RESELECTED
from rhat.selection.rules import rule_named
from rhat.selection.rules.cosmic import least_alike
from rhat.selection.settings import FindSettings
from rhat.statistics import auroc
from rhat.vocabulary import RULE_KINDS
from tiny import tiny_tokenizer

SETTINGS = FindSettings(token_prompts=12, min_kept=(4, 2))
OTHERS = [name for name in RULE_KINDS if name not in RESELECTED]


@pytest.fixture(scope="module")
def model():
    return rhat.load((refusing_hf(), tiny_tokenizer()))


@pytest.fixture(scope="module")
def prompts():
    return contrast_set(per_split=13)


@pytest.fixture(scope="module")
def searched(model, prompts):
    """Each rule's search, every score measured."""
    return {name: find(model, prompts, replace(SETTINGS, rule=name, all_kl=True)) for name in RULE_KINDS}


def chosen(finding):
    [row] = [row for row in finding.candidates if row["status"] == "selected"]
    assert (row["layer"], row["position"]) == (finding.direction.layer, finding.direction.position)
    return row["layer"], row["position"]


def open_rows(finding, model):
    return [r for r in finding.candidates if r["norm"] > 0 and r["layer"] < int(0.8 * model.n_layers)]


def validation(finding, label):
    return [p.text for p in finding.kept["validation"][label]]


@pytest.mark.parametrize("name", RULE_KINDS)
def test_a_rule_is_recorded_and_the_same_again(model, prompts, searched, name, tmp_path):
    found = searched[name]
    assert found.rule in (name, "relaxed")  # the published one falls back on it
    assert found.direction.extra["rule"] == found.rule
    assert RULE_KINDS[found.rule].label in found.sentence
    kept = rhat.selection.Finding.load(found.save(tmp_path / "f.safetensors"), prompts)
    assert kept.rule == found.rule
    for name, table in found.scored.more.items():
        for place, values in table.items():
            np.testing.assert_array_equal(kept.scored.more[name][place], values)
    direction = rhat.Direction.load(found.direction.save(tmp_path / "r.safetensors"))
    assert finding_for(model, prompts, direction, SETTINGS).rule == found.rule


@pytest.mark.parametrize("name", RULE_KINDS)
def test_each_status_is_one_of_the_rule_and_what_it_removed_adds_up(searched, name, model):
    found = searched[name]
    statuses = [r["status"] for r in found.candidates]
    assert statuses.count("selected") == 1
    for part, count in found.removed.items():
        assert statuses.count(part) == count
    assert sum(found.removed.values()) + statuses.count("kept") + statuses.count("unevaluated") + 1 == len(statuses)
    for row in found.candidates:
        assert (row["status"] == "layer") == (row["norm"] > 0 and row["layer"] >= int(0.8 * model.n_layers))


def test_the_relaxed_rule_alone_is_numpys_on_the_stored_scores(searched, model):
    found = searched["relaxed"]
    scored = found.scored
    passing = {place: values.mean() for place, values in scored.ablation.items() if scored.kl[place].mean() <= 0.1}
    from scipy import stats

    for row in open_rows(found, model):
        rise = scored.induce[row["layer"], row["position"]] - scored.before
        low = stats.ttest_1samp(rise, 0).confidence_interval(0.95).low
        assert row["induce_rise_low"] == pytest.approx(low, abs=1e-6)
        assert (low > 0) == ((row["layer"], row["position"]) in scored.ablation)
    assert chosen(found) == min(passing, key=passing.get)


def test_the_first_layer_within_the_interval_is_that_of_scikit_learns_auroc(searched, model):
    found = searched["first_auroc"]
    high, low = (found.scored.more[f"{side}_projection"] for side in ("harmful", "harmless"))
    rows = open_rows(found, model)
    areas = {}
    for row in rows:
        place = row["layer"], row["position"]
        scores = np.r_[high[place], low[place]]
        truth = np.r_[np.ones(len(high[place])), np.zeros(len(low[place]))]
        areas[place] = roc_auc_score(truth, scores)
        assert row["scores"]["auroc"] == pytest.approx(areas[place])
    best = max(areas, key=areas.get)
    bound = auroc(high[best], low[best]).low
    within = [place for place in areas if areas[place] >= bound]
    first = min(layer for layer, _ in within)
    assert chosen(found) == max((place for place in within if place[0] == first), key=areas.get)
    assert [(r["layer"], r["position"]) for r in rows if r["status"] == "auroc"] == [
        p for p in areas if p not in within
    ]


def test_stored_projections_are_those_of_plain_hidden_states(searched, model):
    found = searched["first_auroc"]
    d = found.direction
    for label in ("harmful", "harmless"):
        rows = [torch.tensor([ids]) for ids in model.tokenize(validation(found, label))]
        with torch.no_grad():
            states = [
                model.hf(input_ids=r, output_hidden_states=True).hidden_states[d.layer][0, d.position] for r in rows
            ]
        stored = found.scored.more[f"{label}_projection"][d.layer, d.position]
        np.testing.assert_allclose(stored, [float(s.double() @ d.unit.double()) for s in states], rtol=1e-4, atol=1e-4)


def plain_states(model, texts, hooks=()):
    """Mean inputs of all blocks at the last token, [layer, d], with hooks of torch on a plain model of transformers."""
    handles = [
        module.register_forward_pre_hook(hook, with_kwargs=True) if pre else module.register_forward_hook(hook)
        for module, hook, pre in hooks
    ]
    inputs = {}

    def keep(layer):
        def hook(_module, args, kwargs):
            inputs[layer] = (args[0] if args else kwargs["hidden_states"])[0, -1].double()

        return hook

    blocks = model.hf.model.layers
    readers = [blocks[i].register_forward_pre_hook(keep(i), with_kwargs=True) for i in range(len(blocks))]
    found = []
    with torch.no_grad():
        for ids in model.tokenize(texts):
            model.hf(input_ids=torch.tensor([ids]))
            found.append(torch.stack([inputs[i] for i in range(len(blocks))]))
    for handle in (*handles, *readers):
        handle.remove()
    return torch.stack(found).mean(0).numpy()


def test_cosmic_scores_are_those_of_plain_transformers_with_plain_hooks(searched, model):
    found = searched["cosmic"]
    blocks = model.hf.model.layers
    plain = {label: plain_states(model, validation(found, label)) for label in ("harmful", "harmless")}

    def cosine(a, b):
        return float(a.ravel() @ b.ravel() / np.linalg.norm(a) / np.linalg.norm(b))

    alike = {layer: cosine(plain["harmful"][layer], plain["harmless"][layer]) for layer in range(1, model.n_layers)}
    layers = [min(alike, key=alike.get)]  # a tenth of four layers, rounded up
    for row in open_rows(found, model)[::3]:
        at = found.means.positions.index(row["position"])
        raw = found.means.candidates[row["layer"], at].float()
        r = raw / raw.norm()

        def add(_module, args, kwargs, raw=raw):
            return (args[0] + raw, *args[1:]), kwargs

        def out(_module, _args, output, r=r):
            x = output[0] if isinstance(output, tuple) else output
            x = x - (x @ r)[..., None] * r
            return (x, *output[1:]) if isinstance(output, tuple) else x

        ablate = [(model.hf.model.embed_tokens, out, False)]
        for block in blocks:
            ablate += [(block.self_attn, out, False), (block.mlp, out, False)]
        without = plain_states(model, validation(found, "harmful"), ablate)
        with_it = plain_states(model, validation(found, "harmless"), [(blocks[row["layer"]], add, True)])
        assert row["scores"]["cosmic_ablate"] == pytest.approx(
            cosine(without[layers], plain["harmless"][layers]), abs=1e-4
        )
        assert row["scores"]["cosmic_induce"] == pytest.approx(
            cosine(with_it[layers], plain["harmful"][layers]), abs=1e-4
        )


def test_cosmic_chooses_the_largest_sum_with_a_small_kl(searched):
    scored = searched["cosmic"].scored
    sums = {place: values.sum() for place, values in scored.more["cosmic"].items() if scored.kl[place].mean() <= 0.1}
    assert chosen(searched["cosmic"]) == max(sums, key=sums.get)


def test_cosmic_that_measures_kl_as_far_as_needed_chooses_the_same(model, prompts, searched):
    lazy = find(model, prompts, replace(SETTINGS, rule="cosmic"))
    assert chosen(lazy) == chosen(searched["cosmic"])
    assert len(lazy.scored.kl) < len(searched["cosmic"].scored.kl)
    assert {"unevaluated"} <= {r["status"] for r in lazy.candidates}


def test_least_alike_takes_a_tenth_rounded_up_and_the_first_of_equals():
    harmful = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]] * 4)[:11]
    harmless = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]] * 4)[:11]
    assert least_alike(harmful, harmless) == [1, 2]
    assert least_alike(harmful[:9], harmless[:9]) == [1]
    assert [len(least_alike(torch.ones(n, 2), torch.ones(n, 2))) for n in (1, 10, 20, 21, 30, 70)] == [1, 1, 2, 3, 3, 7]


def test_generation_is_what_plain_generate_answers_and_the_judge_reads(searched, model):
    found = searched["generation"]
    refused, complied = (found.scored.more[name] for name in ("refused_added", "complied_ablated"))
    shares = {place: (refused[place].mean() + complied[place].mean()) / 2 for place in refused}
    order = sorted(found.scored.ablation, key=lambda place: found.scored.ablation[place].mean())[:8]
    assert list(shares) == order
    best = max(order, key=lambda place: shares[place])  # the first of equals
    assert chosen(found) == best
    for place in (best, order[-1]):
        row = next(r for r in found.candidates if (r["layer"], r["position"]) == place)
        assert row["scores"]["generated"] == pytest.approx(shares[place])
        at = found.means.positions.index(place[1])
        d = rhat.Direction.of(found.means.candidates[place[0], at], site=f"resid_pre.{place[0]}", position=place[1])
        for label, treatment, wanted, stored in (
            ("harmless", rhat.add(d, d.norm), "refused", refused),
            ("harmful", rhat.ablate(d), "complied", complied),
        ):
            texts = validation(found, label)
            answers = [c.text for c in model.generate(texts, 24, intervention=treatment)]
            read = JUDGES["words"](texts, answers)
            np.testing.assert_array_equal(stored[place], [float(j.label == wanted) for j in read])


def test_every_rules_direction_does_something(searched, model, prompts):
    """What a rule is for: the direction of each, added on test prompts, raises the log-odds of refusal."""
    from rhat.scoring import last_token_scores

    plan = model.plan([p.text for p in prompts.select("harmless", "test")])
    for name, found in searched.items():
        treatment = rhat.add(found.direction, found.direction.norm).edits(model)
        rise = last_token_scores(model, plan, found.token_ids, treatment) - last_token_scores(
            model, plan, found.token_ids
        )
        assert rise.mean() > 0, name


def test_a_rule_that_is_none_is_told_before_any_work(model, prompts):
    with pytest.raises(StudyError, match="rule 'cosmos': expected one of published, relaxed, cosmic"):
        find(model, prompts, replace(SETTINGS, rule="cosmos"))


def test_another_rule_is_resumed_from_what_was_kept(model, prompts, searched, tmp_path):
    from rhat.scoring.pieces import Pieces

    for name in ("cosmic", "generation"):
        folder = tmp_path / name
        first = find(model, prompts, replace(SETTINGS, rule=name), pieces=Pieces.of(folder, model))
        again = find(model, prompts, replace(SETTINGS, rule=name), pieces=Pieces.of(folder, model))
        assert list(again.candidates) == list(first.candidates)
        assert chosen(first) == chosen(searched[name])


@pytest.mark.parametrize("kind", RULE_KINDS.values(), ids=list(RULE_KINDS))
def test_the_function_of_a_record_has_its_name_and_a_source(kind):
    assert rule_named(kind.name).__name__ == kind.name
    assert kind.formula
    assert kind.source


# Finders that need more than the two groups, in a search


def test_a_category_is_the_difference_of_its_own_prompts(model, prompts):
    found = find(model, prompts, replace(SETTINGS, finder="category:category 1"))
    d = found.direction
    assert d.method == "category:category 1"
    assert wording.finder(d.method) == "Difference of one category (category 1)"
    sides = []
    for label in ("harmful", "harmless"):
        some = [p for p in found.kept["train"][label] if label == "harmless" or p.category == "category 1"]
        sides.append(rhat.activations(model, [p.text for p in some], d.site, d.position)[:, 0].double().mean(0))
    difference = sides[0] - sides[1]
    assert float(torch.nn.functional.cosine_similarity(difference, d.unit.double(), dim=0)) > 0.9999
    assert d.extra["category_cosines"]["names"] == [f"category {i}" for i in range(3)]


def test_a_given_vector_is_tried_at_every_layer(model, prompts, searched):
    vector = searched["published"].direction.unit
    found = find(model, prompts, replace(SETTINGS, finder="given", vector=-vector))
    assert abs(found.direction.cosine(searched["published"].direction)) == pytest.approx(1, abs=1e-5)
    assert found.direction.mean_harmful > found.direction.mean_harmless
    with pytest.raises(rhat.RhatError, match="got no vector; give one with --vector FILE"):
        find(model, prompts, replace(SETTINGS, finder="given"))


def test_the_last_instruction_token_is_a_position_too(model, prompts):
    found = find(model, prompts, replace(SETTINGS, instruction_token=True, rule="first_auroc"))
    last = -model.template_length - 1
    assert found.means.positions == (last, *range(-model.template_length, 0))
    for label, mean in (("harmful", found.means.harmful), ("harmless", found.means.harmless)):
        rows = [torch.tensor([ids]) for ids in model.tokenize([p.text for p in found.kept["train"][label]])]
        with torch.no_grad():
            states = [model.hf(input_ids=r, output_hidden_states=True).hidden_states[2][0, last] for r in rows]
        torch.testing.assert_close(mean[2, 0], torch.stack(states).double().mean(0), rtol=1e-4, atol=1e-4)
    assert {r["position"] for r in found.candidates} == set(found.means.positions)


def test_false_refusal_is_found_on_borderline_prompts_that_the_model_refuses(model, prompts):
    """All borderline prompts are tests there: two of their eight topics stay untouched. The model was taught to answer its own
    borderline prompts and refuses their twins, which stand for borderline ones here."""
    with pytest.raises(StudyError, match=r"borderline prompts: [01] of 3 are refused in the train split, expected at"):
        find(model, prompts, replace(SETTINGS, finder="false_refusal"))
    labelled = tuple(p for p in prompts.prompts if p.label in ("harmful", "harmless"))
    twins = tuple(replace(p, label="borderline") for p in prompts.prompts if p.label == "twin")
    given = ContrastSet("with twins", labelled + twins, 0)
    found = find(model, given, replace(SETTINGS, finder="false_refusal", rule="first_auroc"))
    d = found.direction
    used = set(d.extra["borderline_prompts"])
    assert 4 <= len(used) == len(d.extra["borderline_prompts"]) <= 6
    assert {p.label for split in found.kept.values() for p in split["harmful"]} == {"borderline"}

    def mean(some):
        texts = [p.text for p in some]
        return rhat.activations(model, texts, d.site, d.position)[:, 0].double().mean(0)

    harmless = mean(found.kept["train"]["harmless"])
    plain = find(model, given, SETTINGS).kept["train"]["harmful"]
    r = torch.nn.functional.normalize(mean(plain) - harmless, dim=0)
    v = mean(found.kept["train"]["harmful"]) - harmless
    vector = v - (v @ r) * r
    assert float(torch.nn.functional.cosine_similarity(vector, d.unit.double(), dim=0)) > 0.9999
    assert d.mean_harmful == pytest.approx(float(mean(found.kept["train"]["harmful"]) @ d.unit.double()), rel=1e-4)
