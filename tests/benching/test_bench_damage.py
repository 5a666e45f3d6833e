"""What edits move besides refusal: each measure against plain transformers, an edit that does nothing, and one that destroys."""

import numpy as np
import pytest
import torch
import transformers

import rhat
from benches import FORMULAS, Edited, nats
from labs import SIZES, contrast_set, tiny_finding
from rhat.benching import BenchSettings, beside
from rhat.benching.damage import damage_of
from rhat.benching.entries import Bench
from rhat.directions import random_direction
from rhat.interventions import Intervention
from rhat.lab import Lab, RotatedControls
from rhat.scoring.capability import CATEGORIES, capability_items, some_items
from rhat.scoring.neutral import KINDS, neutral_texts, some_texts
from rhat.vocabulary import PROMPTINGS
from tiny import VOCAB, tiny_tokenizer

REFERENCE, RANDOM = "finder:mean_difference@2", "control:random@2"


def row_of(found, measure, condition=REFERENCE, task="induce"):
    [row] = [r for r in found.damage if (r.measure, r.condition, r.task, r.prompts) == (measure, condition, task, None)]
    return row


def dose_of(found, condition, seed=None):
    [dose] = [d.dose for d in found.doses if (d.condition, d.task, d.seed) == (condition, "induce", seed)]
    return dose


def raw(model):
    """Token ids of the neutral texts of the quick preset."""
    return [tiny_tokenizer()(text.text)["input_ids"] for text in some_texts(12, 0)]


def answers(model, prompts):
    """Harmless test prompts, and greedy answers by transformers' generate without the token that ends them."""
    asked = model.tokenize([p.text for p in prompts.select("harmless", "test")][:12])
    said = []
    for ids in asked:
        with torch.no_grad():
            out = model.hf.generate(torch.tensor([list(ids)]), max_new_tokens=10, do_sample=False)[0, len(ids) :]
        said.append([int(i) for i in out if int(i) != 1])
    return asked, said


def chosen(model, items, talk=lambda text: [{"role": "user", "content": text}]):
    """Whether the right option of each item has the least nats a token."""
    found = []
    for item in items:
        prompt = model.tokenizer.apply_chat_template(talk(item.prompt), add_generation_prompt=True, return_dict=False)
        each = [nats(model, prompt, tiny_tokenizer()(o, add_special_tokens=False)["input_ids"]) for o in item.options]
        found.append(sum(one <= each[item.right] for one in each) == 1)
    return np.array(found)


def held(row, edited, plain):
    """A row against what plain transformers give of each item."""
    edited, plain = np.array(edited, float), np.array(plain, float)
    assert row.n == len(edited)
    assert row.value == pytest.approx(edited.mean(), rel=1e-4)
    assert row.difference == pytest.approx((edited - plain).mean(), rel=1e-3, abs=1e-6)
    assert row.difference_low <= row.difference <= row.difference_high
    assert row.ci_low <= row.value <= row.ci_high


def test_cross_entropy_is_transformers_own_loss(model, prompts, r, found):
    dose = dose_of(found, REFERENCE)
    texts = raw(model)
    asked, said = answers(model, prompts)
    for measure, pairs in (
        ("cross_entropy_neutral", [(ids[:1], ids[1:]) for ids in texts]),
        ("cross_entropy_own", list(zip(asked, said, strict=True))),
    ):
        plain = [nats(model, *pair) for pair in pairs]
        with Edited(model, r.layer, lambda x: FORMULAS["add"](x, r.unit, dose)):
            edited = [nats(model, *pair) for pair in pairs]
        held(row_of(found, measure), edited, plain)
        assert row_of(found, measure, "baseline").value == pytest.approx(np.mean(plain), rel=1e-4)
        assert row_of(found, measure, "baseline").difference is None


def test_random_directions_are_dealt_to_the_texts_in_turn(model, r, found):
    edited = []
    for i, ids in enumerate(raw(model)):
        added = dose_of(found, RANDOM, i % 4) * random_direction(model.d_model, i % 4, r.unit)
        with Edited(model, r.layer, lambda x, added=added: x + added):
            edited.append(nats(model, ids[:1], ids[1:]))
    assert row_of(found, "cross_entropy_neutral", RANDOM).value == pytest.approx(np.mean(edited), rel=1e-4)


def test_capability_is_the_share_of_items_whose_right_option_transformers_finds_likeliest(model, r, found):
    items, dose = some_items(16, 0), dose_of(found, REFERENCE)
    plain = chosen(model, items)
    with Edited(model, r.layer, lambda x: FORMULAS["add"](x, r.unit, dose)):
        edited = chosen(model, items)
    held(row_of(found, "capability"), edited, plain)
    assert (edited != plain).any()
    name, prompting = next(iter(PROMPTINGS.items()))
    asked = chosen(model, items, lambda text: list(prompting.before(text)))
    held(row_of(found, "capability", f"prompting:{name}"), asked, plain)


def test_parts_of_the_sets_are_balanced_seeded_and_all_of_them_where_so_many_are_asked_for():
    for some, whole, of, kinds in (
        (some_items, capability_items(), lambda item: item.category, CATEGORIES),
        (some_texts, neutral_texts(), lambda text: text.kind, KINDS),
    ):
        few = some(12, 3)
        assert {kind: sum(of(one) == kind for one in few) for kind in kinds} == dict.fromkeys(kinds, 12 // len(kinds))
        assert few == some(12, 3) != some(12, 4)
        assert [one for one in whole if one in few] == list(few)
        assert some(len(whole), 3) == whole
    texts = [text.text for text in neutral_texts()]
    assert len(set(texts)) == len(texts) == 36
    assert all(30 <= len(text.split()) <= 50 for text in texts)


@pytest.fixture(scope="module")
def reader():
    """A bench on a tiny model that was taught twelve texts, two dozen questions and an answer; these are the texts and questions."""
    tokenizer = tiny_tokenizer()
    config = transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=48, intermediate_size=96, num_attention_heads=4, num_hidden_layers=2,
        max_position_embeddings=512, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    items = [item for item in capability_items() if item.category == "cloze"][:24]
    prompts = contrast_set(13)
    model = rhat.load((_taught(config, tokenizer, items, prompts), tokenizer))
    lab = Lab(model, prompts, tiny_finding(model, prompts), SIZES)
    return Bench(lab, BenchSettings()), items


def _taught(config, tokenizer, items, prompts):
    pairs = [(item.prompt, item.options[item.right]) for item in items]
    pairs += [(p.text, "Glad to help.") for p in prompts.select("harmless", "train")]
    rows = []
    for asked, said in pairs:
        talk = [{"role": "user", "content": asked}]
        prompt = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
        rows.append((prompt, [*tokenizer(said, add_special_tokens=False)["input_ids"], 1]))
    rows += [([], tokenizer(text.text)["input_ids"][:120]) for text in some_texts(12, 0)]
    longest = max(len(prompt) + len(said) for prompt, said in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for i, (prompt, said) in enumerate(rows):
        n, m = len(prompt), len(prompt) + len(said)
        ids[i, :m], labels[i, n:m] = torch.tensor([*prompt, *said]), torch.tensor(said)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hf = transformers.AutoModelForCausalLM.from_config(config)
        optimizer = torch.optim.AdamW(hf.parameters(), lr=3e-3)
        for _ in range(70):
            loss = hf(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    hf.generation_config.eos_token_id, hf.generation_config.pad_token_id = 1, 0
    return hf.eval()


@pytest.fixture(scope="module")
def moved(reader):
    """Rows by measure and condition: nothing done, nothing added, and far too much."""
    bench, items = reader
    unit = torch.nn.functional.normalize(torch.randn(48, generator=torch.Generator().manual_seed(0)), dim=0)
    still = RotatedControls(tuple(Intervention("add", unit, layer, 0.0) for layer in (0, 1)))
    treatments = {
        "baseline": None,
        "operator:add@1": Intervention("add", unit, 1, 0.0),
        "control:random@1": still,
        "operator:ruin@1": Intervention("add", unit, 1, 300.0),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beside, "some_items", lambda _n, _seed: tuple(items))
        found = beside.beside(bench, beside.conditions_of(bench, treatments, {}))
    rows = damage_of({}, {"induce": found})
    return {(row.measure, row.condition): row for row in rows}


@pytest.mark.parametrize("measure", ["cross_entropy_neutral", "cross_entropy_own", "capability"])
def test_an_edit_that_adds_nothing_moves_exactly_nothing(moved, measure):
    row, plain = moved[measure, "operator:add@1"], moved[measure, "baseline"]
    assert row.difference == 0
    assert row.difference_low <= 0 <= row.difference_high
    assert (row.value, row.ci_low, row.ci_high) == (plain.value, plain.ci_low, plain.ci_high)
    assert row.verdict not in ("better", "worse")
    assert moved[measure, "control:random@1"].difference == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("measure", "word"), [("cross_entropy_neutral", "better"), ("cross_entropy_own", "better"), ("capability", "worse")]
)
def test_an_edit_that_destroys_the_model_is_seen_in_every_measure(moved, measure, word):
    plain, row = moved[measure, "baseline"], moved[measure, "operator:ruin@1"]
    assert row.verdict == word, row
    if measure == "capability":
        assert plain.value >= 0.9
        assert row.value <= 0.5
    else:
        assert row.difference > 1
