"""Exports run by the tools they are for; plain arithmetic is in test_writing.py.

The extra `peers` brings lm-eval and llama.cpp (xllamacpp). The other tests are skipped unless their tool is installed by hand: nnsight
gives every object of the process a `save` when it is imported, TransformerLens, steering-vectors and repeng need an older transformers.
"""

import numpy as np
import pytest
import torch

import llama_cpp
import rhat
from gguf_files import keys_of, tensors_of, tiny_of, write_gguf
from rhat import vectors
from rhat.directions import Direction
from rhat.interventions import intervene
from tiny import tiny_chat_model

PROMPTS = ("Name three rivers.", "Why is the sky blue?")


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("llama", n_layers=4, dtype=torch.float32)


def direction(model, layer=2):
    noise = torch.randn(model.d_model, generator=torch.Generator().manual_seed(5))
    return Direction.of(noise / noise.norm(), site=f"resid_pre.{layer}", model=model, mean_harmful=3.0)


def exported(format, doing, r, model, path):
    return vectors.write(format, doing, r, path, model)[0]


DOINGS = [("add", {}), ("subtract", {}), ("set_projection", {}), ("set_projection", {"layer": 0}), ("ablate", {})]


@pytest.mark.parametrize("family", ["llama", "qwen3", "phi3"])
@pytest.mark.parametrize(("op", "options"), DOINGS)
def test_lm_eval(family, tmp_path, op, options):
    steered = pytest.importorskip("lm_eval.models.hf_steered")
    model = tiny_chat_model(family, n_layers=4, dtype=torch.float64)
    doing = intervene(op, direction(model), **options)
    file = exported("lm-eval", doing, direction(model), model, tmp_path / "steer.pt")
    lm = steered.SteeredModel(pretrained=model.hf, tokenizer=model.tokenizer, steer_path=str(file), device="cpu")
    theirs = torch.stack([lm._model_call(torch.tensor([ids]))[0, -1] for ids in model.tokenize(PROMPTS)])
    theirs, without = theirs.double(), rhat.logits(model, PROMPTS).double()
    assert (theirs - without).abs().max() > 0.1
    torch.testing.assert_close(theirs, rhat.logits(model, PROMPTS, doing).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("op", "options"), DOINGS)
def test_nnsight(model, tmp_path, op, options):
    nnsight = pytest.importorskip("nnsight")
    import runpy

    doing = intervene(op, direction(model), **options)
    script = runpy.run_path(str(exported("nnsight", doing, direction(model), model, tmp_path / "steer.py")))
    steer, wrapped, theirs = script["steer"], nnsight.NNsight(model.hf), []
    for ids in model.tokenize(PROMPTS):
        with wrapped.trace(input_ids=torch.tensor([ids]), use_cache=False):
            steer(wrapped)
            logits = wrapped.lm_head.output.save()
        theirs.append(logits[0, -1].float())
    torch.testing.assert_close(torch.stack(theirs), rhat.logits(model, PROMPTS, doing), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("op", "options"), DOINGS)
def test_transformer_lens(model, tmp_path, op, options):
    bridge = pytest.importorskip("transformer_lens.model_bridge").TransformerBridge
    import runpy

    doing = intervene(op, direction(model), **options)
    script = runpy.run_path(str(exported("transformer-lens", doing, direction(model), model, tmp_path / "steer.py")))
    model.hf.save_pretrained(tmp_path / "m")
    model.tokenizer.save_pretrained(tmp_path / "m")
    lens = bridge.boot_transformers(str(tmp_path / "m"), device="cpu", dtype=torch.float32)
    with torch.no_grad():
        theirs = [
            lens.run_with_hooks(torch.tensor([ids]), fwd_hooks=script["HOOKS"])[0, -1]
            for ids in model.tokenize(PROMPTS)
        ]
    torch.testing.assert_close(torch.stack(theirs), rhat.logits(model, PROMPTS, doing), atol=2e-5, rtol=0)


def test_steering_vectors(model, tmp_path):
    library = pytest.importorskip("steering_vectors")
    r = direction(model)
    theirs = library.SteeringVector({1: 3.0 * r.unit, 3: torch.ones(model.d_model)})
    torch.save(theirs, tmp_path / "sv.pt")
    mine = vectors.read(tmp_path / "sv.pt", site="resid_pre.2").direction(model)
    assert mine.cosine(r) == pytest.approx(1, abs=1e-6)
    assert mine.norm == pytest.approx(3)
    only = library.SteeringVector({1: 3.0 * r.unit})
    (ids,) = model.tokenize(PROMPTS[:1])
    with torch.no_grad(), only.apply(model.hf):
        logits = model.hf(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
    torch.testing.assert_close(rhat.logits(model, PROMPTS[:1], intervene("add", mine, value=mine.norm))[0], logits)


def test_repeng(model, tmp_path):
    repeng = pytest.importorskip("repeng")
    r = direction(model)
    made = repeng.ControlVector("llama", {layer: (layer * r.unit).numpy() for layer in (1, 2, 3)})
    made.export_gguf(tmp_path / "theirs.gguf")
    mine = vectors.read(tmp_path / "theirs.gguf", site="resid_pre.3").direction(model)
    assert (str(mine.site), mine.norm) == ("resid_pre.3", pytest.approx(2))
    back = exported("gguf", intervene("add", mine, value=2.5), mine, model, tmp_path / "mine.gguf")
    theirs = repeng.ControlVector.import_gguf(back)
    np.testing.assert_allclose(theirs.directions[2], 2.5 * r.unit.numpy(), rtol=1e-6)


@pytest.mark.parametrize("layer", [2, 3])
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_llama_cpp(tmp_path, architecture, layer):
    lib = llama_cpp.library()
    hf = tiny_of(architecture, num_hidden_layers=4)
    file = write_gguf(tmp_path / "m.gguf", architecture, keys_of(architecture, hf), tensors_of(architecture, hf))
    model = rhat.load(str(file), dtype="float32")
    doing = intervene("add", direction(model, layer), value=6.0)
    written = exported("gguf", doing, direction(model, layer), model, tmp_path / "v.gguf")
    off = exported(
        "gguf", intervene("add", direction(model, 5 - layer), value=6.0), direction(model), model, tmp_path / "o.gguf"
    )
    theirs = llama_cpp.Model(lib, file)
    ours, without = rhat.logits(model, PROMPTS, doing), rhat.logits(model, PROMPTS)
    for i, ids in enumerate(model.tokenize(PROMPTS)):
        runs = [None, *(llama_cpp.control_vector(lib, path) for path in (written, off))]
        plain, same, other = (torch.tensor(theirs.logits(ids, v, model.n_layers, ours.shape[1])) for v in runs)
        moved = float((ours[i] - without[i]).abs().max())
        assert float((plain - without[i]).abs().max()) < 0.05 * moved  # its own: keys and values in half precision
        assert float((same - ours[i]).abs().max()) < 0.05 * moved
        assert float((other - ours[i]).abs().max()) > 0.5 * moved  # one layer off
