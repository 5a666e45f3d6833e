"""Every kind of intervention goes wherever one is taken, and does there what plain hooks on transformers do."""

from contextlib import ExitStack, contextmanager

import pytest
import torch

import rhat
from rhat.errors import InterventionError
from rhat.guard import Conditional
from rhat.heads import PatchHeads
from rhat.interventions import AnyIntervention
from rhat.model import tap
from rhat.model.logits import last_logits
from rhat.sites import Site
from tiny import tiny_chat_model

PROMPTS = [
    "Name a river.",
    "Name a lake of the far north, and say how deep it is.",
    "Sing.",
    "Tell me of the old mill.",
]
N_NEW = 6


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("llama", n_layers=3, dtype=torch.float64)


@pytest.fixture(scope="module")
def direction(model):
    unit = torch.nn.functional.normalize(torch.randn(model.d_model, generator=torch.Generator().manual_seed(3)), dim=0)
    return rhat.Direction(unit, Site("resid_pre", 1), -1, 2.0, 3.0, 0.5)


def ids_of(model, prompt):
    messages = [{"role": "user", "content": prompt}]
    return torch.tensor([model.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)])


@contextmanager
def hooks(before=(), after=()):
    """Plain PyTorch hooks: (module, function) on inputs and on outputs."""

    def on_input(function):
        return lambda _m, args, kwargs: (
            ((function(args[0]), *args[1:]), kwargs)
            if args
            else (args, {**kwargs, "hidden_states": function(kwargs["hidden_states"])})
        )

    def on_output(function):
        return lambda _m, _args, out: (function(out[0]), *out[1:]) if isinstance(out, tuple) else function(out)

    with ExitStack() as stack:
        for module, function in before:
            handle = module.register_forward_pre_hook(on_input(function), with_kwargs=True)
            stack.callback(handle.remove)
        for module, function in after:
            stack.callback(module.register_forward_hook(on_output(function)).remove)
        yield


def cases(model, direction):
    """Kind → the intervention, and a function from a prompt to the plain hooks that do the same."""
    layers, unit = model.hf.model.layers, direction.unit.double()
    values = {
        (1, 2): torch.randn(16, generator=torch.Generator().manual_seed(1)).double(),
        (1, 0): torch.randn(16, generator=torch.Generator().manual_seed(3)).double(),
        (2, 0): torch.randn(16, generator=torch.Generator().manual_seed(2)).double(),
    }

    def place(x):
        return x + (9.0 - x @ unit)[..., None] * unit

    def shift(x):
        return x + 2.5 * unit

    def without(x):
        return x - (x @ unit)[..., None] * unit

    def patch(layer):
        def patched(x):
            if x.shape[1] == 1:  # a token that is generated
                return x
            x = x.clone()
            for (at, head), value in values.items():
                if at == layer:
                    x[:, -1, head * 16 : head * 16 + 16] = value
            return x

        return patched

    def above(prompt):
        with torch.no_grad():
            states = model.hf(ids_of(model, prompt), output_hidden_states=True).hidden_states
        return float(states[1][0, -1] @ unit)

    projections = sorted(map(above, PROMPTS))
    threshold = (projections[1] + projections[2]) / 2
    writers = [m for layer in layers for m in (layer.self_attn, layer.mlp)]
    everywhere = {"before": [(m, without) for m in layers], "after": [(m, without) for m in writers]}
    placed = {"before": [(layers[1], place)]}
    return {
        "set": (rhat.set_projection(direction, 9.0), lambda _p: placed),
        "ablate": (rhat.ablate(direction), lambda _p: everywhere),
        "combined": (
            rhat.interventions.combine([rhat.set_projection(direction, 9.0), rhat.add(direction, 2.5, layer=2)]),
            lambda _p: {"before": [(layers[1], place), (layers[2], shift)]},
        ),
        "heads": (
            PatchHeads(values),
            lambda _p: {"before": [(layers[i].self_attn.o_proj, patch(i)) for i in (1, 2)]},
        ),
        "conditional": (
            Conditional(rhat.set_projection(direction, 9.0), direction, threshold),
            lambda p: placed if above(p) > threshold else {},
        ),
        "conditional, below the gate": (
            Conditional(rhat.ablate(direction), direction, threshold),
            lambda p: everywhere if above(p) > threshold else {},
        ),
        "combined with a conditional": (
            rhat.interventions.combine(
                [
                    Conditional(rhat.set_projection(direction, 9.0), direction, threshold),
                    rhat.add(direction, 2.5, layer=2),
                ]
            ),
            lambda p: {"before": [*(placed["before"] if above(p) > threshold else []), (layers[2], shift)]},
        ),
    }


KINDS = (
    "set",
    "ablate",
    "combined",
    "heads",
    "conditional",
    "conditional, below the gate",
    "combined with a conditional",
)


def truth(model, plain):
    """Next-token logits and greedy answers, prompt by prompt, under plain hooks."""
    logits, answers = [], []
    for prompt in PROMPTS:
        ids = ids_of(model, prompt)
        with torch.no_grad(), hooks(**plain(prompt)):
            logits.append(model.hf(ids).logits[0, -1])
            out = model.hf.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=N_NEW, do_sample=False, eos_token_id=None
            )
        answers.append(out[0, ids.shape[1] :].tolist())
    return torch.stack(logits), answers


def begins(answers, completions):
    """Completions are the answers, up to a token that ends them."""
    return all(list(c.tokens) == a[: len(c.tokens)] and c.tokens for a, c in zip(answers, completions, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_an_argument_of_logits_and_generate_does_what_plain_hooks_do(model, direction, kind):
    made, plain = cases(model, direction)[kind]
    logits, answers = truth(model, plain)
    assert isinstance(made, AnyIntervention)
    got = rhat.logits(model, PROMPTS, made)
    torch.testing.assert_close(got, logits.float())
    assert not torch.allclose(got, rhat.logits(model, PROMPTS), atol=1e-4)
    assert begins(answers, model.generate(PROMPTS, N_NEW, intervention=made))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "below" not in kind])
def test_on_and_tap_do_what_plain_hooks_do(model, direction, kind):
    made, plain = cases(model, direction)[kind]
    logits, answers = truth(model, plain)
    with made.on(model):
        torch.testing.assert_close(rhat.logits(model, PROMPTS), logits.float())
        assert begins(answers, model.generate(PROMPTS, N_NEW))
        ids = ids_of(model, PROMPTS[1])
        out = model.hf.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=N_NEW, do_sample=False, eos_token_id=None
        )
        assert out[0, ids.shape[1] :].tolist() == answers[1]
    with tap(model, made.edits(model)), torch.no_grad():
        for prompt, wanted in zip(PROMPTS, logits, strict=True):
            torch.testing.assert_close(model.hf(ids_of(model, prompt)).logits[0, -1], wanted)


def test_a_gate_above_its_edits_is_said_in_one_line(model, direction):
    made = cases(model, direction)["conditional, below the gate"][0]
    with pytest.raises(InterventionError, match=r"acts at resid_pre\.0, before the gate at resid_pre\.1"):
        made.edits(model)


def test_a_prompt_that_is_run_in_pieces_is_said_in_one_line(model, direction):
    made = cases(model, direction)["conditional"][0]
    plan = model.plan(["Name a river in the north.", "Name a river in the south."])
    assert plan.prefix_length
    with pytest.raises(InterventionError, match="run before its last tokens"):
        list(last_logits(model, plan, made.edits(model)))
