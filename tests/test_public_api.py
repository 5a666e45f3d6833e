"""The library's first calls, held against plain transformers on a tiny model."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rhat
from labs import contrast_set
from rhat.directions import Direction
from rhat.errors import PromptError, SiteError
from rhat.generation import Sampling
from rhat.sites import Site
from tiny import tiny_chat_model

ROOT = Path(__file__).parents[1]
PROMPTS = ["Name a river.", "Why is the sky so very blue at noon?", "Sing.", "Tell me of the old mill by the sea."]
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Sing."},
    {"role": "assistant", "content": "La."},
    {"role": "user", "content": "Again."},
]


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("llama", n_layers=3, dtype=torch.float64)


@pytest.fixture(scope="module")
def direction(model):
    unit = torch.nn.functional.normalize(torch.randn(model.d_model, generator=torch.Generator().manual_seed(3)), dim=0)
    return Direction(unit, Site("resid_pre", 1), -1, 2.0, 3.0, 0.5, model={"name": model.name})


def plain(model, prompt):
    """transformers' own output for one prompt, alone."""
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    ids = model.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    with torch.no_grad():
        return model.hf(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False)


def test_activations_are_transformers_hidden_states_in_the_prompts_order(model):
    got = rhat.activations(model, PROMPTS, ["resid_pre.1", Site("resid_post", 1)])
    several = rhat.activations(model, PROMPTS, "resid_pre.1", position=[-1, -3])
    assert got.shape == (4, 2, model.d_model)
    assert several.shape == (4, 1, 2, model.d_model)
    for i, prompt in enumerate(PROMPTS):
        states = plain(model, prompt).hidden_states
        for j, layer in enumerate((1, 2)):
            torch.testing.assert_close(got[i, j], states[layer][0, -1].float())
        torch.testing.assert_close(several[i, 0], states[1][0, [-1, -3]].float())


def test_logits_are_transformers_and_see_an_intervention(model, direction):
    got = rhat.logits(model, PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        torch.testing.assert_close(got[i], plain(model, prompt).logits[0, -1].float())
    treated = rhat.logits(model, PROMPTS, rhat.ablate(direction))
    with rhat.ablate(direction).on(model):
        for i, prompt in enumerate(PROMPTS):
            torch.testing.assert_close(treated[i], plain(model, prompt).logits[0, -1].float())
    assert not torch.equal(treated, got)


def test_activations_under_an_intervention_are_what_the_model_goes_on_with(model, direction):
    target = rhat.activations(model, PROMPTS, "resid_pre.1", intervention=rhat.set_projection(direction, 7.0))
    torch.testing.assert_close(
        direction.project(target[:, 0]), torch.full((4,), 7.0, dtype=torch.float64), atol=1e-4, rtol=0
    )


def test_activations_and_projections_of_all_tokens_are_transformers_hidden_states(model, direction):
    """Prompts that share their beginning and some that do not, one a conversation."""
    prompts = [*PROMPTS, TALK, "Name a river in the north."]
    got = rhat.activations(model, prompts, ["resid_pre.1", "resid_post.2"], "all")
    along = rhat.projections(model, prompts, direction, "all")
    last = rhat.projections(model, prompts, direction)
    placed = rhat.projections(model, prompts, direction, "all", intervention=rhat.set_projection(direction, 7.0))
    for i, prompt in enumerate(prompts):
        states = plain(model, prompt).hidden_states
        n = states[1].shape[1]
        torch.testing.assert_close(got[i, 0, -n:], states[1][0].float())
        expected = states[1][0] @ direction.unit.double()
        torch.testing.assert_close(along[i, -n:], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(last[i], expected[-1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(placed[i, -n:], torch.full((n,), 7.0).double(), atol=1e-4, rtol=0)
        assert got[i, :, :-n].isnan().all()
        assert along[i, :-n].isnan().all()
    assert got.shape[2] == max(plain(model, p).logits.shape[1] for p in prompts)


def test_a_conversation_is_a_prompt_everywhere(model):
    for call in (
        lambda prompts: rhat.logits(model, prompts),
        lambda prompts: rhat.activations(model, prompts, "resid_pre.1"),
    ):
        together = call([TALK, "Sing."])
        torch.testing.assert_close(together[:1], call([TALK]))
    torch.testing.assert_close(rhat.logits(model, [TALK])[0], plain(model, TALK).logits[0, -1].float())


def test_measures_take_strings_conversations_and_token_ids_alike(model, direction):
    prompts = ["Sing.", TALK, "Name a river."]
    tokens = model.tokenize(prompts)
    refusals = rhat.scoring.refusals(model, prompts)
    assert [c.tokens for c in refusals.completions] == [
        c.tokens for c in rhat.scoring.refusals(model, tokens).completions
    ]
    assert rhat.guard.prompt_projections(model, direction, prompts) == pytest.approx(
        rhat.projections(model, prompts, direction).numpy(), abs=1e-5
    )
    scores = rhat.scoring.last_token_scores(model, prompts, [40])
    for prompt, score in zip(prompts, scores, strict=True):
        p = plain(model, prompt).logits[0, -1].double().softmax(-1)[40]
        torch.testing.assert_close(score, (p / (1 - p)).log(), atol=1e-9, rtol=0)


def test_lists_of_strings_are_a_contrast_set():
    """Split and fingerprinted as a file of the same lines is."""
    texts = {label: [p.text for p in contrast_set().prompts if p.label == label] for label in rhat.prompts.LABELS}
    harmful, harmless, borderline, twins = texts.values()
    made = rhat.prompts.of(harmful, harmless, borderline, twins=twins)
    for label, given in texts.items():
        assert {p.text for p in made.prompts if p.label == label} == set(given)
    assert {p.split for p in made.prompts if p.label == "harmless"} == set(rhat.prompts.SPLITS)
    assert {p.split for p in made.prompts if p.label in ("borderline", "twin")} == {"test"}
    for given, says in (
        ((harmful[:3], harmless), "got 3 different harmful prompts"),
        (([*harmful, " "], harmless), f"harmful, prompt {len(harmful) + 1}: got an empty text"),
        ((harmful, harmful), "harmful"),
    ):
        with pytest.raises(PromptError, match=says) as error:
            rhat.prompts.of(*given)
        assert "\n" not in str(error.value)


def test_lists_and_files_of_the_same_prompts_are_the_same_set(tmp_path):
    texts = {label: [p.text for p in contrast_set().prompts if p.label == label] for label in ("harmful", "harmless")}
    for label, lines in texts.items():
        (tmp_path / f"{label}.txt").write_text("\n".join(lines), "utf-8")
    read = rhat.prompts.read(tmp_path / "harmful.txt", tmp_path / "harmless.txt")
    assert [(p.text, p.split) for p in rhat.prompts.of(**texts).prompts] == [(p.text, p.split) for p in read.prompts]


def test_generate_takes_conversations_system_prompts_and_sampling(model):
    def said(**more):
        return [c.tokens for c in model.generate(["Sing.", "Sing."], 8, **more)]

    prompt = model.tokenizer.apply_chat_template(TALK, add_generation_prompt=True, return_dict=False)
    out = model.hf.generate(
        input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=8, do_sample=False
    )[0, len(prompt) :].tolist()
    got = list(model.generate([TALK], 8)[0].tokens)
    assert got
    assert got == out[: len(got)]
    system = [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "Sing."}]
    assert said(system="Rhyme.")[0] == model.generate([system], 8)[0].tokens
    assert not torch.equal(rhat.logits(model, [system]), rhat.logits(model, ["Sing."])), "the template shows it"
    warm = Sampling(temperature=1.5, seed=4)
    assert said(sampling=warm) == said(sampling=warm)
    assert len(set(said(sampling=warm))) == 2, "each prompt has a seed of its own"
    assert said(sampling=Sampling(temperature=1.5, seed=5))[0] == said(sampling=warm)[1]


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ("Sing.", "put it in a list"),
        ([], "at least one prompt"),
        (["Sing.", [{"role": "user"}]], "prompt 2: got a message with"),
        ([TALK[:3]], "its last message is the assistant's"),
    ],
)
def test_what_is_no_list_of_prompts_is_rejected_in_one_line(model, prompts, says):
    for call in (model.tokenize, model.generate, lambda p: rhat.logits(model, p)):
        with pytest.raises(PromptError, match=says) as error:
            call(prompts)
        assert "\n" not in str(error.value)


def test_values_of_the_wrong_type_are_rejected_where_no_type_checker_runs():
    """The tests' own type checker would stop these calls first, so they run in a process without it."""
    script = """
import sys
sys.path.insert(0, "tests")
from rhat.errors import PromptError
from tiny import tiny_chat_model
model = tiny_chat_model("llama", n_layers=1)
for prompts in ([{"role": "user", "content": "Sing."}], [3], [["Sing."]]):
    try:
        model.tokenize(prompts)
    except PromptError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    one, two, three = done.stdout.splitlines()
    assert "got one conversation; put it in a list" in one
    assert "prompt 1: got int, expected a string or a list of" in two
    assert "prompt 1: got list, expected a string or a list of" in three


def test_sites_that_are_none_are_rejected(model):
    with pytest.raises(SiteError, match="layers 0 to 2"):
        rhat.activations(model, PROMPTS, "resid_pre.3")
    with pytest.raises(PromptError, match="got no sites"):
        rhat.activations(model, PROMPTS, [])
    for position, prompts in ((-400, PROMPTS), (0, PROMPTS), (-400, [PROMPTS[1]])):
        with pytest.raises(
            SiteError, match=rf"position {position}: .* prompt {1 if len(prompts) == 1 else 3} has \d+ tokens"
        ):
            rhat.activations(model, prompts, "resid_pre.1", position=position)


@pytest.mark.parametrize("prompts", [PROMPTS, PROMPTS[1:2], PROMPTS[1:2] * 3])
def test_every_position_of_a_prompt_can_be_read_also_where_all_prompts_are_alike(model, direction, prompts):
    """What prompts share is run once for all of them; a position in there is read all the same."""
    shortest = min(len(tokens) for tokens in model.tokenize(prompts))
    at = [-1, -9, 1 - shortest, -shortest]
    got = rhat.activations(model, prompts, ["resid_pre.2", "resid_post.2"], position=at)
    edited = rhat.projections(model, prompts, direction, -shortest, intervention=rhat.add(direction, 2.0))
    for i, prompt in enumerate(prompts):
        states = plain(model, prompt).hidden_states
        torch.testing.assert_close(got[i, 0], states[2][0, at].float())
        unedited = direction.project(states[1][0, -shortest])
        torch.testing.assert_close(edited[i], unedited + 2.0, atol=1e-5, rtol=0)


def test_values_print_on_one_line(model, direction):
    for value in (model, direction, model.plan(PROMPTS), rhat.prompts.builtin(), rhat.ablate(direction)):
        text = repr(value)
        assert len(text) < 200, text
        assert "\n" not in text
    assert rhat.prompts.builtin().prompts[0].text not in repr(rhat.prompts.builtin())
