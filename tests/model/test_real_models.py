"""Real models end to end: the default one, SmolLM2, which hardly refuses, and a Gemma 3 base model with a template by hand."""

import json
import re
from dataclasses import replace

import pytest
import torch

import rhat
from rhat import results as contract
from rhat.cli import run as command
from rhat.errors import TemplateError
from rhat.interventions import Intervention
from rhat.model import last_logits
from rhat.model.catalogue import DEFAULT
from rhat.model.check import check
from rhat.selection.finding import find
from rhat.selection.settings import FindSettings
from rhat.study import PRESETS

pytestmark = pytest.mark.model
TEXTS = ["Name the capital of France.", "Why is the sky blue?", "Write a haiku about the sea."]
TEMPLATE = "{% for m in messages %}Question: {{ m.content }}\n{% endfor %}Answer:"
LAYERS = {"qwen2.5-coder-0.5b": (24, 14), "smollm2-135m": (30, 9), "gemma3-270m-base": (18, 4)}


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    file = tmp_path_factory.mktemp("template") / "question.jinja"
    file.write_text(TEMPLATE)
    return file


@pytest.fixture(scope="module", params=LAYERS)
def model(request, by_hand):
    if request.param == DEFAULT:
        return request.getfixturevalue("single_precision")
    own = {"chat_template": by_hand} if request.param == "gemma3-270m-base" else {}
    return rhat.load(request.param, dtype="float32", **own)


def test_every_site_is_proved_and_the_fast_path_taken(model):
    report = check(model)
    assert report.ok, [row for row in report.rows() if row["outcome"] == "failed"]
    assert report.fast
    assert not report.absent
    assert (model.n_layers, model.layout.n_heads) == LAYERS[model.name]


def test_answers_are_those_of_transformers(model):
    for prompt, said in zip(model.tokenize(TEXTS), model.generate(TEXTS, 8), strict=True):
        ids = torch.tensor([prompt])
        out = model.hf.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=8,
            do_sample=False,
            repetition_penalty=1.0,
            pad_token_id=model.pad_id,
        )
        assert out[0, len(prompt) :][: len(said.tokens)].tolist() == list(said.tokens)


@pytest.mark.parametrize("op", ["set_projection", "ablate"])
def test_fast_and_plain_agree_under_every_operator(model, op, monkeypatch):
    unit = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    edits = Intervention(op, unit / unit.norm(), model.n_layers // 2, 5.0).edits(model)
    plan = model.plan(TEXTS)

    def logits(edits):
        return torch.cat([x[which.argsort()] for which, x in last_logits(model, plan, edits)]).double()

    fast, unedited = logits(edits), logits({})
    monkeypatch.setenv("RHAT_SLOW", "1")
    slow = logits(edits)
    assert float((fast - slow).norm() / slow.norm()) < 1e-3
    assert float((fast - unedited).norm() / unedited.norm()) > 1e-3


def test_a_study_of_a_model_that_hardly_refuses_says_so_with_the_numbers(tmp_path, monkeypatch, capfd):
    few = replace(PRESETS["quick"], headline=32, sweep=16, train=64, validation=16, randoms=3, dealt=2)
    monkeypatch.setitem(PRESETS, "quick", few)
    monkeypatch.setenv("COLUMNS", "300")
    out = tmp_path / "smol"
    assert command(["study", "-m", "smollm2-135m", "-p", "quick", "--only", "suppress", "-o", str(out)]) == 0
    said = capfd.readouterr().out
    results = contract.read(out)
    # It refuses about a sixth of harmful prompts, as the judge reads it: at the edge of what can be studied.
    assert results["outcome"] in ("no_refusal", "no_candidate", "found_relaxed")
    sentence = results["outcome_sentence"]
    page = (out / "report.html").read_text("utf-8")
    if results["outcome"] == "no_refusal":
        assert "direction" not in results
        counts = r"(train|validation) harmful: \d+ kept of (64|16), \d+ needed"  # of the split that has too few, whichever it is
        assert re.match(rf"smollm2-135m hardly refuses \(prompts on which it behaves as labelled: {counts}", sentence)
        assert sentence.endswith("needed), so there is no refusal to study")
        assert f"no_refusal: {sentence}" in said
        assert sentence in page
    else:
        assert "relaxed" in sentence
        assert "relaxed rule" in page
        assert "relaxed rule" in said
    harmful = next(r for r in results["rates"] if r["prompts"] == "harmful" and r["condition"] == "baseline")
    assert harmful["n"] == 32
    assert harmful["ci_high"] < 0.5
    assert json.loads((out / "manifest.json").read_text())["seed"] == 0


def test_a_base_model_wants_a_template_and_is_searched_with_one(by_hand):
    with pytest.raises(
        TemplateError, match=r"gemma3-270m-base: this model has no chat template, .* --chat-template FILE"
    ):
        rhat.load("gemma3-270m-base")
    model = rhat.load("gemma3-270m-base", chat_template=by_hand)
    assert model.tokenizer.decode(model.tokenize(["Why?"])[0][-model.template_length :]) == "\nAnswer:"
    found = find(model, rhat.prompts.builtin(), FindSettings(train=32, validation=16, token_prompts=16))
    assert found.outcome == "no_refusal"  # nobody taught it to refuse
    # Which of the two it is depends on the precision: in float32 most of its answers repeat themselves.
    assert "so there is no refusal to study" in found.sentence or "gives no answers to study" in found.sentence
