"""Exports run by the tools they are for. A tool that is not installed is skipped: `pip install lm-eval nnsight
transformer-lens steering-vectors repeng llama-cpp-py-sync` runs them all; plain arithmetic is in test_writing.py."""

import numpy as np
import pytest
import torch

import rhat
from gguf_files import keys_of, tensors_of, tiny_of, write_gguf
from rhat import vectors
from rhat.directions import Direction
from rhat.interventions import intervene
from rhat.vectors.formats.gguf import vectors_of
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


@pytest.mark.parametrize(("op", "options"), DOINGS)
def test_lm_eval(model, tmp_path, op, options):
    steered = pytest.importorskip("lm_eval.models.hf_steered")
    doing = intervene(op, direction(model), **options)
    file = exported("lm-eval", doing, direction(model), model, tmp_path / "steer.pt")
    lm = steered.SteeredModel(pretrained=model.hf, tokenizer=model.tokenizer, steer_path=str(file), device="cpu")
    theirs = torch.stack([lm._model_call(torch.tensor([ids]))[0, -1].float() for ids in model.tokenize(PROMPTS)])
    without = rhat.logits(model, PROMPTS)
    assert (theirs - without).abs().max() > 0.1
    torch.testing.assert_close(theirs, rhat.logits(model, PROMPTS, doing), atol=1e-5, rtol=0)


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
    library = pytest.importorskip("llama_cpp_py_sync")
    from llama_cpp_py_sync._cffi_bindings import get_ffi

    hf = tiny_of(architecture, num_hidden_layers=4)
    file = write_gguf(tmp_path / "m.gguf", architecture, keys_of(architecture, hf), tensors_of(architecture, hf))
    model = rhat.load(str(file), dtype="float32")
    r, ffi = direction(model, layer), get_ffi()
    doing = intervene("add", r, value=6.0)
    written = vectors_of(exported("gguf", doing, r, model, tmp_path / "v.gguf"))

    def logits(ids, shift=None):
        llama = library.Llama(str(file), n_ctx=128, n_threads=1)
        if shift is not None:  # as its loader does: direction.N to slot N - 1
            buffer = np.zeros((model.n_layers - 1, model.d_model), dtype=np.float32)
            for number, vector in written.items():
                buffer[number - 1 + shift] = vector.numpy()
            held = ffi.cast("float *", ffi.from_buffer(buffer))
            size = (buffer.size, model.d_model, 1, model.n_layers)
            assert llama._lib.llama_set_adapter_cvec(llama._ctx, held, *size) == 0
        llama._eval_tokens(list(ids), 0)
        got = np.frombuffer(ffi.buffer(llama._lib.llama_get_logits_ith(llama._ctx, -1), 4 * llama.n_vocab), np.float32)
        got = torch.tensor(got)
        llama.close()
        return got

    ours, without = rhat.logits(model, PROMPTS, doing), rhat.logits(model, PROMPTS)
    for i, ids in enumerate(model.tokenize(PROMPTS)):
        moved = float((ours[i] - without[i]).abs().max())
        noise = float((logits(ids) - without[i]).abs().max())  # llama.cpp's own precision, without any vector
        assert float((logits(ids, shift=0) - ours[i]).abs().max()) < max(2 * noise, 0.02 * moved)
        off = -1 if layer == 3 else 1
        assert float((logits(ids, shift=off) - ours[i]).abs().max()) > 0.2 * moved  # one layer off
