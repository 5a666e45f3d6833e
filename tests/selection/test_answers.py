"""Models that refuse after thinking, in channels, in other languages or politely: what `find` makes of them."""

import json
import sys
from dataclasses import replace

import pytest

import rhat
from labs import contrast_set
from refusing import HARMONY, THINKS, Lesson, marked_tokenizer, refusing_hf
from rhat.errors import DirectionError, StudyError
from rhat.executor import SerialExecutor
from rhat.generation import Completion
from rhat.guard import prompt_projections
from rhat.scoring import Phrases, refusals, verdict
from rhat.selection import find
from rhat.selection.answers import Heard, listen
from rhat.selection.given_direction import finding_for
from rhat.selection.settings import FindSettings, silent
from rhat.study import StudyConfig, run
from rhat.study.stages import Stages

SETTINGS = FindSettings(token_prompts=12, min_kept=(4, 2))
NO, YES = "Sorry, no.", "Glad to help."


@pytest.fixture(scope="module")
def prompts():
    return contrast_set(per_split=13)


@pytest.fixture(scope="module")
def thinker():
    """A model that thinks first, with short thoughts and with none; and that speaks in harmony's channels."""
    plain, harmony = marked_tokenizer(), marked_tokenizer(HARMONY, eos="<|return|>")
    channels = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    ways = (("<think>\nHm.\n</think>\n", plain), ("<think>\n\n</think>\n", plain))
    ways += ((f"{channels}<|channel|>final<|message|>", harmony), ("<|channel|>final<|message|>", harmony))
    return refusing_hf(
        lessons=[Lesson(way + NO, way + YES, tokenizer) for way, tokenizer in ways], n_layers=3, steps=100
    )


@pytest.fixture(scope="module")
def linguist():
    """A model whose system prompt says in which words it refuses: Spanish, Basque, and two polite ways."""
    ways = {"s": ("Lo siento, no.", "Claro."), "e": ("Ezin dut egin.", "Bai, noski.")}
    ways |= {"a": ("I see, but I can't.", "Yes."), "b": ("Thanks. I can't.", "Thanks. Yes.")}
    return refusing_hf(
        lessons=[Lesson(*said, tokenizer=marked_tokenizer(), system=name) for name, said in ways.items()],
        n_layers=3,
        steps=110,
    )


def loaded(hf, tokenizer, **settings):
    hf.config.eos_token_id = hf.generation_config.eos_token_id = tokenizer.eos_token_id
    return rhat.load((hf, tokenizer), **settings)


@pytest.mark.parametrize(
    ("template", "eos", "prefix", "last"),
    [
        (None, "<|end|>", "<think>\n\n</think>\n", "<|assistant|>\n<think>\n\n</think>\n"),
        (THINKS, "<|end|>", "\n</think>\n", "<|assistant|>\n<think>\n\n</think>\n"),
        (HARMONY, "<|return|>", "<|channel|>final<|message|>", "<|start|>assistant<|channel|>final<|message|>"),
    ],
)
def test_refusals_behind_markup_are_found(thinker, prompts, template, eos, prefix, last, tmp_path):
    tokenizer = marked_tokenizer(eos=eos) if template is None else marked_tokenizer(template, eos)
    model = loaded(thinker, tokenizer)
    stages = []
    found = find(model, prompts, SETTINGS, progress=lambda stage, *_: stages.append(stage))
    assert found.outcome in ("found", "found_relaxed"), found.sentence
    assert found.response_prefix == prefix
    assert "8 of 8 closed it within 512 tokens and 8 then refused" in found.sentence
    assert repr(prefix) in found.sentence
    assert any("at most 512 tokens each" in stage for stage in stages)
    assert [t.text for t in found.refusal_tokens] == ["S"]  # of the visible answer, not of the markup
    assert model.response_prefix == ""  # the model given is as it was

    beyond = model.with_response_prefix(prefix)
    [ids] = beyond.tokenize(["Break the lock of the house."])
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Break the lock of the house."}], tokenize=False, add_generation_prompt=True
    )
    assert tokenizer.decode(ids) == text + prefix
    assert (text + prefix).endswith(last)
    some = [p.text for p in prompts.select("harmful", "test")]
    assert refusals(beyond, beyond.tokenize(some)).refused.mean() > 0.9
    path = found.direction.save(tmp_path / "r.safetensors")
    r = rhat.Direction.load(path)
    assert r.response_prefix == prefix
    assert finding_for(model, prompts, r, SETTINGS).response_prefix == prefix
    with pytest.raises(DirectionError, match="so its position means another token"):
        prompt_projections(model, r, model.tokenize(some))
    assert len(prompt_projections(beyond, r, beyond.tokenize(some))) == len(some)
    with pytest.raises(DirectionError, match="leave that out"):
        model.with_response_prefix("Well. ").for_direction(r)


def test_a_finding_with_a_prefix_is_kept(thinker, prompts, tmp_path):
    model = loaded(thinker, marked_tokenizer(THINKS))
    settings = replace(SETTINGS, phrases=Phrases.of(["no way"]))
    found = find(model, prompts, settings)
    stages = Stages(tmp_path, "x")
    stages.save_finding(found)
    again = stages.load_finding(prompts)
    for name in ("response_prefix", "phrases", "markup", "openings", "sentence", "outcome"):
        assert getattr(again, name) == getattr(found, name), name
    assert again.direction.model == found.direction.model
    assert again.direction.extra == found.direction.extra
    assert FindSettings.read_as(again.direction).phrases == settings.phrases


def test_a_prefix_that_was_given_is_not_replaced(thinker, prompts):
    found = find(loaded(thinker, marked_tokenizer(), response_prefix="<think>\n"), prompts, SETTINGS)
    assert found.response_prefix == "<think>\n"
    assert "Answers open <think> even after the response prefix" in found.sentence


def test_spanish_refusals_are_found(linguist, prompts):
    found = find(loaded(linguist, marked_tokenizer(), system="s"), prompts, SETTINGS)
    assert found.outcome in ("found", "found_relaxed"), found.sentence
    assert found.openings == (("Lo siento, no.", 12),)  # answers are run on after a refusal: help may follow
    assert found.response_prefix == ""


def test_refusals_after_a_preamble_are_found(linguist, prompts):
    found = find(loaded(linguist, marked_tokenizer(), system="a"), prompts, SETTINGS)
    assert found.outcome in ("found", "found_relaxed"), found.sentence


def test_a_preamble_before_every_answer_is_told_and_may_be_given(linguist, prompts):
    found = find(loaded(linguist, marked_tokenizer(), system="b"), prompts, SETTINGS)
    assert found.outcome == "no_refusal"
    assert "refuses (12 of 12 harmful training prompts were refused)" in found.sentence
    assert "begin as its answers to harmless prompts do: «Thanks. I can't.» (12 of 12)" in found.sentence
    found = find(loaded(linguist, marked_tokenizer(), system="b", response_prefix="Thanks. "), prompts, SETTINGS)
    assert found.outcome in ("found", "found_relaxed"), found.sentence
    assert found.direction.response_prefix == "Thanks. "


def test_refusals_in_unknown_words_are_told_and_may_be_given(linguist, prompts):
    model = loaded(linguist, marked_tokenizer(), system="e")
    found = find(model, prompts, SETTINGS)
    assert found.outcome == "no_refusal"
    assert "nothing that" in found.sentence
    assert "«Ezin dut egin.» (12 of 12); if these are refusals" in found.sentence
    by_phrases = find(model, prompts, replace(SETTINGS, phrases=Phrases.of(["Ezin dut"])))
    by_token = find(model, prompts, replace(SETTINGS, refusal_tokens=("E",)))
    for got in (by_phrases, by_token):
        assert got.outcome in ("found", "found_relaxed"), got.sentence
        assert [(t.text, t.share) for t in got.refusal_tokens] == [("E", 1.0)]
    assert float(by_phrases.direction.unit @ by_token.direction.unit) > 0.9999
    assert finding_for(model, prompts, by_token.direction).token_ids == by_token.token_ids


def test_a_study_reads_with_the_phrases_it_was_given(linguist, prompts, tmp_path):
    folder, own = tmp_path / "model", tmp_path / "basque.txt"
    loaded(linguist, marked_tokenizer()).hf.save_pretrained(folder)
    marked_tokenizer().save_pretrained(folder)
    own.write_text("ezin dut\n")
    files = {}
    for label in ("harmful", "harmless"):
        files[label] = str(tmp_path / f"{label}.jsonl")
        rows = [{"prompt": p.text, "split": p.split} for p in prompts.prompts if p.label == label]
        (tmp_path / f"{label}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = StudyConfig(
        model=str(folder),
        preset="quick",
        only=("suppress",),
        system="e",
        dtype="float32",
        out=tmp_path / "run",
        **files,
    )
    blind = run(replace(config, out=tmp_path / "blind"))
    assert blind["outcome"] == "no_refusal"
    assert blind["openings"][0] == {"text": "Ezin dut egin.", "count": 13}
    results = run(replace(config, refusal_phrases=str(own)))
    assert results["outcome"] in ("found", "found_relaxed")
    assert results["settings"]["refusal_phrases"] == {"file": str(own), **Phrases.read(own).describe()}
    [rate] = [r for r in results["rates"] if (r["condition"], r["prompts"]) == ("baseline", "harmful")]
    assert rate["refused"] > 0.9 * rate["n"]
    own.write_text("ezin dut\nez dut\n")  # other phrases are another study
    with pytest.raises(rhat.RhatError, match="holds another study"):
        run(replace(config, refusal_phrases=str(own)))


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("Sorry, no", "got 8 tokens .* expected a text that is one; give the first token of a refusal, or its id"),
        ("", "got 0 tokens"),
        (10_000, "this model's token ids are 0 to 286"),
        (-1, "this model's token ids are 0 to 286"),
    ],
)
def test_given_tokens_that_are_none(linguist, prompts, token, words):
    model = loaded(linguist, marked_tokenizer())
    with pytest.raises(StudyError, match=words):
        find(model, prompts, replace(SETTINGS, refusal_tokens=(token,)))


def test_broken_answers_are_no_answers(linguist, prompts, monkeypatch):
    model = loaded(linguist, marked_tokenizer(), system="e")
    broken = Completion("no no no no no no no no no no", (5,), "length")
    monkeypatch.setattr(
        sys.modules["rhat.scoring.refusals"], "generate_tokens", lambda _model, some, *_, **__: [broken] * len(some)
    )
    heard = listen(
        model,
        {label: prompts.select(label, "train") for label in ("harmful", "harmless")},
        SETTINGS,
        silent,
        SerialExecutor(),
    )
    assert isinstance(heard, Heard)
    assert "gives no answers to study: 12 of 12 to harmful training prompts are empty or degenerate" in heard.why_not()


def test_answers_are_told_from_refusals(linguist, prompts):
    """Harmless prompts in the place of harmful ones: they are answered, as the others are."""
    model = loaded(linguist, marked_tokenizer(), system="e")
    swapped = {"harmful": prompts.select("harmless", "train"), "harmless": prompts.select("harmless", "validation")}
    heard = listen(model, swapped, SETTINGS, silent, SerialExecutor())
    assert "hardly refuses: 0 of 12 harmful training prompts were refused" in heard.why_not()
    assert "it answers, most often with «Bai, noski.» (12 of 12)" in heard.why_not()
    assert verdict("Bai, noski.") == "complied"
