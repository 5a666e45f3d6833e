"""What is written for other tools, done by plain PyTorch hooks as those tools document it, against rhat's logits."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file

import rhat
from rhat import vectors
from rhat.directions import Direction
from rhat.errors import DirectionError, InterventionError
from rhat.guard import strengthen
from rhat.interventions import combine, intervene
from rhat.vocabulary import OPERATORS
from tiny import tiny_chat_model

PROMPTS = ("Name three rivers.", "Why is the sky blue?")
SAYS = {
    "gguf": ("add", "subtract"),
    "lm-eval": ("add", "subtract", "set_projection", "ablate"),
    "nnsight": tuple(OPERATORS),
    "safetensors": tuple(OPERATORS),
    "transformer-lens": tuple(OPERATORS),
}


@pytest.fixture(scope="module", params=["llama", "gemma2", "qwen3-moe"])
def model(request):
    return tiny_chat_model(request.param, n_layers=4, dtype=torch.float32)


@pytest.fixture(scope="module")
def llama():
    return tiny_chat_model("llama", n_layers=4, dtype=torch.float32)


def direction(model, layer=2):
    v = torch.randn(model.d_model, generator=torch.Generator().manual_seed(5))
    return Direction.of(v / v.norm(), site=f"resid_pre.{layer}", model=model, mean_harmful=3.0, mean_harmless=-1.0)


def documented_lm_eval(file, model):
    """lm-eval 0.4.13's `steered` arithmetic, written from its documentation: add multiples, or set the projection."""
    handles = []
    for name, one in torch.load(file, weights_only=True).items():
        module = dict(model.hf.base_model.named_modules())[name]

        def hook(_module, _args, output, one=one):
            x = output[0] if isinstance(output, tuple) else output
            v = one["steering_vector"].to(x.dtype)
            if one["action"] == "add":
                x = x + v * one["steering_coefficient"]
            else:
                v = v / torch.norm(v)
                x = x + v * (one["steering_coefficient"] - torch.sum(x * v, dim=-1, keepdim=True))
            return (x, *output[1:]) if isinstance(output, tuple) else x

        handles.append(module.register_forward_hook(hook))
    return handles


def documented_llama_cpp(file, model, shift=0):
    """direction.N added to the output of block N, counted from 0."""
    handles = []
    for tensor in gguf.GGUFReader(file).tensors:
        block = model.hf.base_model.layers[int(tensor.name.split(".")[1]) + shift]
        v = torch.tensor(tensor.data)
        handles.append(block.register_forward_hook(lambda _m, _a, out, v=v: out + v))
    return handles


def documented_nnsight(file, model):
    script, handles = runpy.run_path(str(file)), []
    for name, side in script["SITES"]:
        module = model.hf.get_submodule(name)
        if side == "input":
            edit = lambda _m, args, kwargs: ((script["edit"](args[0]), *args[1:]), kwargs)  # noqa: E731
            handles.append(module.register_forward_pre_hook(edit, with_kwargs=True))
        else:

            def hook(_m, _a, out):
                return (script["edit"](out[0]), *out[1:]) if isinstance(out, tuple) else script["edit"](out)

            handles.append(module.register_forward_hook(hook))
    return handles


DOCUMENTED = {"lm-eval": documented_lm_eval, "gguf": documented_llama_cpp, "nnsight": documented_nnsight}


def logits_with(hooking, file, model, **options):
    handles = hooking(file, model, **options)
    try:
        with torch.no_grad():
            return torch.stack(
                [model.hf(input_ids=torch.tensor([i]), use_cache=False).logits[0, -1] for i in model.tokenize(PROMPTS)]
            )
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("format", DOCUMENTED)
def test_the_other_tools_arithmetic_gives_the_same_logits(model, tmp_path, format):
    r, record = direction(model), vectors.FORMATS[format]
    without = rhat.logits(model, PROMPTS)
    for op in SAYS[format]:
        parameter = OPERATORS[
            op
        ].parameter  # angles far from those of the model's own tokens, so that each edit is seen
        doing = intervene(op, r, value=20.0 if parameter is not None and parameter.unit == "degrees" else None)
        (file, *_) = vectors.write(format, doing, r, tmp_path / f"{op}{record.suffix}", model)
        theirs, ours = logits_with(DOCUMENTED[format], file, model), rhat.logits(model, PROMPTS, doing)
        assert float((ours - without).abs().max()) > 0.02, op
        torch.testing.assert_close(theirs, ours, atol=2e-5, rtol=0, msg=f"{format} {op}")
        found = vectors.check(format, file, doing, model)
        assert found.agrees
        assert found.difference < 2e-5
    if format == "gguf":
        off = logits_with(documented_llama_cpp, file, model, shift=-1)
        assert float((off - ours).abs().max()) > 0.02  # one layer off


@pytest.mark.parametrize("format", SAYS)
def test_check_sees_a_file_that_does_something_else(llama, tmp_path, format):
    r, record = direction(llama), vectors.FORMATS[format]
    doing, other = intervene("add", r), intervene("add", r, layer=3)
    (file, *_) = vectors.write(format, other, r, tmp_path / f"o{record.suffix}", llama)
    found = vectors.check(format, file, doing, llama)
    assert not found.agrees
    assert found.difference > 0.1 * found.moved
    assert vectors.check(format, file, other, llama).agrees


def test_an_intervention_that_does_nothing_does_not_agree(llama, tmp_path):
    r = direction(llama)
    doing = intervene("add", r, value=0.0)
    (file, *_) = vectors.write("lm-eval", doing, r, tmp_path / "o.pt", llama)
    assert not vectors.check("lm-eval", file, doing, llama).agrees


@pytest.mark.parametrize("format", SAYS)
def test_what_a_format_cannot_say_is_rejected_with_the_reason(llama, tmp_path, format):
    r, record = direction(llama), vectors.FORMATS[format]
    doings = [
        intervene("add", r, scope="prompt"),
        combine([intervene("add", r), intervene("ablate", r)]),
        strengthen(r, 0.5),
        *(intervene(op, r) for op in OPERATORS if op not in SAYS[format]),
    ]
    for doing in doings:
        with pytest.raises(InterventionError) as error:
            vectors.write(format, doing, r, tmp_path / f"o{record.suffix}", llama)
        assert record.lacks in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_llama_cpp_cannot_reach_the_first_two_inputs_nor_all(llama, tmp_path):
    r = direction(llama)
    for options in ({"layer": 0}, {"layer": 1}, {"where": "all layers"}):
        with pytest.raises(InterventionError, match="from the second on; expected one layer from 2"):
            vectors.write("gguf", intervene("add", r, **options), r, tmp_path / "o.gguf", llama)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "family", ["gpt2", "bloom", "opt-post-norm"]
)  # a sum, a norm and a projection after the embedding
def test_lm_eval_has_no_module_where_the_first_input_is_not_the_embedding(tmp_path, family):
    model = tiny_chat_model(family, dtype=torch.float32)
    r = direction(model, 1)
    with pytest.raises(InterventionError, match=r"resid_pre.0: .* has no module whose output it is"):
        vectors.write("lm-eval", intervene("ablate", r), r, tmp_path / "o.pt", model)


def test_formats_that_are_only_read_and_models_that_are_needed(llama, tmp_path):
    r = direction(llama)
    with pytest.raises(InterventionError, match="such files are only read"):
        vectors.write("steering-vectors", intervene("add", r), r, tmp_path / "o.pt", llama)
    with pytest.raises(DirectionError, match="the model is needed"):
        vectors.write("lm-eval", intervene("add", r), r, tmp_path / "o.pt")
    with pytest.raises(DirectionError, match="only written"):
        vectors.read(tmp_path / "x.py", format="nnsight")
    with pytest.raises(DirectionError, match="direction of another model"):
        vectors.write(
            "lm-eval", intervene("add", r), replace(r, model={"revision_or_sha256": "x"}), tmp_path / "o.pt", llama
        )


@pytest.mark.parametrize("format", ["gguf", "lm-eval", "safetensors"])
def test_there_and_back(llama, tmp_path, format):
    r, record = direction(llama, 3), vectors.FORMATS[format]
    (file, *_) = vectors.write(format, intervene("add", r, value=2.5), r, tmp_path / f"o{record.suffix}", llama)
    back = vectors.read(file).direction(llama)
    assert str(back.site) == "resid_pre.3"
    assert back.cosine(r) == pytest.approx(1, abs=1e-6)
    assert back.norm == pytest.approx(2.5 if format == "gguf" else 1)


def test_ablation_for_lm_eval_is_clamps_at_every_writer(llama, tmp_path):
    r = direction(llama)
    (file,) = vectors.write("lm-eval", intervene("ablate", r), r, tmp_path / "o.pt", llama)
    held = torch.load(file, weights_only=True)
    parts = {f"layers.{k}{part}" for k in range(4) for part in ("", ".self_attn", ".mlp")}
    assert set(held) == {"embed_tokens", *parts} - {"layers.3"}
    assert {(one["action"], one["steering_coefficient"]) for one in held.values()} == {("clamp", 0.0)}


def test_no_weights_are_written(llama, tmp_path):
    r = direction(llama)
    for name in SAYS:
        record = vectors.FORMATS[name]
        doing = intervene("add" if name == "gguf" else "ablate", r)
        vectors.write(name, doing, r, tmp_path / name / f"o{record.suffix}", llama)
    for file in tmp_path.rglob("*.safetensors"):
        assert {k: tuple(v.shape) for k, v in load_file(file).items()} == {"direction": (llama.d_model,)}
    for one in torch.load(tmp_path / "lm-eval" / "o.pt", weights_only=True).values():
        assert one["steering_vector"].shape == (llama.d_model,)


def test_the_card_says_what_is_done(llama, tmp_path):
    r = direction(llama)
    _, card = vectors.write("safetensors", intervene("set_projection", r, layer=1), r, tmp_path / "o.safetensors")
    said = json.loads(card.read_text())
    assert (said["site"], said["operator"], said["value"], said["scope"]) == (
        "resid_pre.1",
        "set_projection",
        3.0,
        "all",
    )
    assert (said["mean_harmful"], said["mean_harmless"]) == (3.0, -1.0)
    assert said["model"]["revision_or_sha256"] == llama.identity


def test_every_format_is_a_file_and_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "vectors.md").read_text()
    for name, record in vectors.FORMATS.items():
        row = f"| `{name}` | {record.tools} | {record.holds or 'not read'} | {record.says or 'not written'} | {record.lacks} |"
        assert row in page, row
