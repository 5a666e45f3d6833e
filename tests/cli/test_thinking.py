"""Thinking on, off or skipped: a tiny model that thinks "Hm." and refuses, or thinks "I can't." and helps."""

import json

import pytest
import requests
import torch
from pydantic import TypeAdapter

import rhat
from labs import contrast_set
from refusing import BRIEF, SWITCH, THINKS, Lesson, marked_tokenizer, refusing_hf
from rhat.artifacts.header import Model
from rhat.errors import TemplateError
from rhat.generation.thinking import Block
from rhat.scoring import judge_answers, refusals
from rhat.selection import find
from rhat.selection.given_direction import finding_for
from rhat.selection.settings import FindSettings
from rhat.study import StudyConfig, run

EMPTY = "<think>\n\n</think>\n\n"
NO, YES = "Sorry, no.", "Glad to help."
SETTINGS = FindSettings(token_prompts=12, min_kept=(4, 2))


@pytest.fixture(scope="module")
def hf():
    tokenizer = marked_tokenizer(SWITCH)
    thoughts = Lesson(
        f"<think>\nHm.\n</think>\n\n{NO}", f"<think>\nI can't.\n</think>\n\n{YES}", tokenizer, thinking=True
    )
    hf = refusing_hf(lessons=[Lesson(NO, YES, tokenizer), thoughts], n_layers=3, steps=110)
    hf.config.eos_token_id = hf.generation_config.eos_token_id = tokenizer.eos_token_id
    return hf


@pytest.fixture(scope="module")
def model(hf):
    return rhat.load((hf, marked_tokenizer(SWITCH)))


@pytest.fixture(scope="module")
def prompts():
    return contrast_set(per_split=13)


@pytest.fixture(scope="module")
def found(model, prompts):
    return find(model.with_thinking(), prompts, SETTINGS)


@pytest.fixture(scope="module")
def files(hf, prompts, tmp_path_factory):
    """The model's folder, and options that name the prompts' files."""
    folder = tmp_path_factory.mktemp("thinker")
    hf.save_pretrained(folder / "model")
    marked_tokenizer(SWITCH).save_pretrained(folder / "model")
    for label in ("harmful", "harmless"):
        rows = [{"prompt": p.text, "split": p.split} for p in prompts.prompts if p.label == label]
        (folder / f"{label}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def asked(prompts, label):
    return [p.text for p in prompts.select(label, "test")]


def written(hf, tokenizer, instruction, n):
    """What transformers' own greedy decoding writes with the template's switch on: (prompt, new tokens)."""
    said = [{"role": "user", "content": instruction}]
    ids = tokenizer.apply_chat_template(
        said, add_generation_prompt=True, enable_thinking=True, return_tensors="pt", return_dict=False
    )
    new = hf.generate(ids, max_new_tokens=n, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
    return ids[0].tolist(), new.tolist()


def test_what_follows_the_block_is_the_answer(hf, model, prompts):
    on = model.with_thinking()
    some = [asked(prompts, "harmful")[0], asked(prompts, "harmless")[0]]
    for one, answer, wanted in zip(some, on.generate(some, 64), (NO, YES), strict=True):
        ids, new = written(hf, model.tokenizer, one, 64)
        assert on.tokenize([one]) == [tuple(ids)]
        assert (*answer.block, *answer.tokens) == tuple(new)
        assert (answer.text, answer.finish_reason) == (wanted, "stop")
        assert answer.thought + answer.text == model.tokenizer.decode(
            [t for t in new if t != model.tokenizer.eos_token_id]
        )
    [short] = on.generate(some[:1], 4)  # of the answer, whatever the block takes
    assert (len(short.tokens), short.finish_reason) == (4, "length")
    seen = []
    on.generate(some, 64, until=lambda text: bool(seen.append(text)))
    assert "H" not in {text[0] for text in seen}  # of the answer alone
    harmful, harmless = (refusals(on, asked(prompts, label)) for label in ("harmful", "harmless"))
    assert harmful.refused.mean() > 0.9
    assert harmless.refused.mean() < 0.1  # though each of them thinks "I can't."
    assert all("I can't." in c.thought for c in harmless.completions)


def test_a_block_that_does_not_close_leaves_no_answer(model, prompts):
    short = model.with_thinking(tokens=3)
    some = asked(prompts, "harmful")
    [one, *_] = answers = short.generate(some, 8)
    assert (one.text, one.tokens, len(one.block), one.finish_reason) == ("", (), 3, "length")
    assert set(judge_answers(some, [c.text for c in answers])) == {"degenerate"}
    told = find(short, contrast_set(per_split=13), SETTINGS)
    assert told.outcome == "no_refusal"
    assert "0 follow a think block of at most 3 tokens" in told.sentence
    assert "12 of 12 to harmful training prompts are empty or degenerate" in told.sentence


@pytest.mark.parametrize(
    ("pieces", "lengths"),
    [
        (["<think>", "a", "</think>", "\n\n", "b", "c"], [1, 2, 3, 4, 4, 4]),
        (["</", "think>", "\n", "x"], [1, 2, 3, 3]),  # begun in the prompt, its end in two tokens
        (["Well", ".", "<think>"], [0, 0, 0]),
        (["<thi", "s", "</think>"], [1, 0, 0]),  # no markup after all
    ],
)
def test_where_the_answer_begins(pieces, lengths):
    class Pieces:
        all_special_ids = ()

        def decode(self, tokens, **_):
            return "".join(pieces[t] for t in tokens)

    from rhat.model.markup import MARKUPS

    block = Block(Pieces(), MARKUPS[0] if pieces[0] == "</" else None)
    seen = []
    for n in range(1, len(pieces) + 1):
        block.push(range(n))
        seen.append(block.length)
    assert seen == lengths


def test_a_direction_is_found_where_the_block_opens(hf, model, found, prompts):
    assert found.outcome in ("found", "found_relaxed"), found.sentence
    assert "Thinking is on: of 12 answers 12 follow a think block of at most 512 tokens" in found.sentence
    assert [t.text for t in found.refusal_tokens] == ["S"]  # of answers, not of blocks
    r, on = found.direction, model.with_thinking()
    assert (r.thinking, r.model["thinking_tokens"], r.response_prefix) == ("on", 512, "")
    assert -on.template_length <= r.position < 0

    def run(text):
        ids = model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            return hf(ids, output_hidden_states=True)

    def text_of(prompt):
        said = [{"role": "user", "content": prompt.text}]
        return model.tokenizer.apply_chat_template(
            said, tokenize=False, add_generation_prompt=True, enable_thinking=True
        )

    kept = found.kept["train"]["harmful"]
    at = [run(text_of(p)).hidden_states[r.layer][0, r.position] @ r.unit for p in kept]
    assert float(torch.stack(at).mean()) == pytest.approx(r.mean_harmful, abs=1e-4)
    # Scores are those of an answer that is given at once, after an empty block.
    [token] = found.token_ids
    logits = torch.stack([run(text_of(p) + EMPTY).logits[0, -1] for p in found.kept["validation"]["harmless"]])
    p = logits.double().softmax(-1)[:, token]
    assert float((p / (1 - p)).log().mean()) == pytest.approx(found.baseline_induce, abs=1e-3)


def test_the_switch_the_empty_block_and_a_begun_one(hf, model):
    bare, opening = (rhat.load((hf, marked_tokenizer(template))) for template in (BRIEF, THINKS))
    one = ["Hi"]

    def ends(of):
        return of.template.tail

    assert ends(bare.with_thinking("skip")).endswith("<|assistant|>\n" + EMPTY)
    assert ends(opening.with_thinking("skip")).endswith("<|assistant|>\n" + EMPTY)
    assert bare.with_thinking("skip").describe()["thinking"] == "skip"
    assert bare.with_thinking("skip").with_thinking("off").tokenize(one) == bare.tokenize(one)
    skipped = model.with_thinking("skip")  # its template does that already
    assert (skipped.thinking.mode, skipped.tokenize(one)) == ("off", model.tokenize(one))
    assert opening.with_thinking().generate(one, 4)[0].block  # no switch, but prompts open the block
    with pytest.raises(TemplateError, match="has no switch for thinking"):
        bare.with_thinking()
    with pytest.raises(TemplateError, match="there is one already: 'Well'; give one of both"):
        bare.with_response_prefix("Well").with_thinking("skip")
    with pytest.raises(TemplateError, match="got 'maybe', expected off, on, skip"):
        model.with_thinking("maybe")
    inside = model.with_response_prefix("<think>\nHm").with_thinking()
    [answer] = inside.generate(["Break the lock of the house."], 16)
    assert (answer.thought, answer.text) == (".\n</think>\n\n", NO)
    assert ends(inside.at_once).endswith("<think>\nHm\n</think>\n\n")


def test_the_other_mode_is_told_once(model, found, prompts, caplog):
    fresh = rhat.load((model.hf, marked_tokenizer(SWITCH)))
    finding_for(fresh.for_direction(found.direction), prompts, found.direction, SETTINGS)
    told = [r.getMessage() for r in caplog.records if "--thinking" in r.getMessage()]
    assert len(told) == 1
    assert "was found with --thinking on and is used with --thinking off" in told[0]
    caplog.clear()
    fresh.with_thinking().for_direction(found.direction)
    skipped = rhat.Direction.of(
        [1.0] + [0.0] * (model.d_model - 1),
        site="resid_pre.1",
        model=fresh.describe() | {"thinking": "skip", "response_prefix": EMPTY},
    )
    assert fresh.for_direction(skipped).template.tail.endswith(EMPTY)  # the same prompts: nothing to tell
    assert not caplog.records


def test_on_the_command_line(cli, files, tmp_path):
    out, where = tmp_path / "r.safetensors", ("-m", files / "model")
    data = ("--harmful", files / "harmful.jsonl", "--harmless", files / "harmless.jsonl")
    done = cli("find", *where, *data, "--thinking", "on", "--thinking-tokens", "40", "-o", out, "--format", "json")
    assert done.code == 0, done.err
    assert "a think block of at most 40 tokens" in json.loads(done.out)["outcome_sentence"]
    assert rhat.Direction.load(out).model["thinking_tokens"] == 40
    told = "was found with --thinking on and is used with --thinking off"
    for more, times in ((("--thinking", "on"), 0), ((), 1)):
        steer = cli(
            "steer", "Paint the lock of the house.", "-d", out, "--op", "ablate", *where, *more, "--format", "jsonl"
        )
        assert steer.code == 0, steer.err
        assert steer.err.count(told) == times
        row = json.loads(steer.out)
        assert row["without_refused"] is False
        assert row["without"].startswith("<think>\nI can't.\n</think>") == (times == 0)
        measure = cli("measure", files / "harmful.jsonl", "-d", out, *where, *more)
        assert (measure.code, measure.err.count(told)) == (0, times)


def test_what_cannot_be_is_refused_in_a_line(refused, folder, direction):
    options = ("steer", "Hi", "-d", direction, "--op", "ablate", "-m", folder, "--thinking")
    assert "its chat template has no switch for thinking" in refused(*options, "on")
    assert "give one of both" in refused(*options, "skip", "--response-prefix", "Well")
    assert "Invalid value for '--thinking'" in refused(*options, "maybe")


def test_a_study_says_so(files, tmp_path):
    config = StudyConfig(
        model=str(files / "model"),
        preset="quick",
        only=("induce",),
        dtype="float32",
        harmful=str(files / "harmful.jsonl"),
        harmless=str(files / "harmless.jsonl"),
        thinking="on",
        thinking_tokens=40,
        out=tmp_path / "run",
    )
    results = run(config)
    assert results["outcome"] in ("found", "found_relaxed"), results["outcome_sentence"]
    said = TypeAdapter(Model).validate_python(results["model"])
    assert (said.thinking, said.thinking_tokens) == ("on", 40)
    assert results["settings"]["thinking"] == "on"
    assert not {"thinking", "thinking_tokens"} & StudyConfig().settings().keys()
    [rate] = [r for r in results["rates"] if (r["condition"], r["prompts"]) == ("baseline", "harmless")]
    assert rate["refused"] == 0  # each of them thinks "I can't." first


def test_a_server_follows_the_switch(model):
    from rhat.server import Settings
    from server.serving import running

    on = model.with_thinking()
    said = {
        "model": "default",
        "messages": [{"role": "user", "content": "Paint the lock of the house."}],
        "max_tokens": 64,
        "temperature": 0,
    }
    with running(on, {}, Settings(playground=False, max_length=256, max_tokens=128)) as server:
        post = lambda **more: requests.post(f"{server.url}/v1/chat/completions", json={**said, **more}, timeout=60)  # noqa: E731
        assert post().json()["choices"][0]["message"]["content"] == f"<think>\nI can't.\n</think>\n\n{YES}"
        for effort, words in (("none", "started with --thinking on"), ("low", "set when the server is started")):
            answer = post(reasoning_effort=effort)
            assert answer.status_code == 400
            assert words in answer.json()["error"]["message"]
    with running(model, {}, Settings(playground=False, max_length=256, max_tokens=128)) as server:
        assert post(reasoning_effort="none").json()["choices"][0]["message"]["content"] == YES
