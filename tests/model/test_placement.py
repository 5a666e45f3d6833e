"""Which device and precision a model gets, on machines that this one is not."""

import pytest
import torch

import rhat
from rhat.capture import capture_all_tokens
from rhat.directions import Direction, random_direction
from rhat.errors import ModelError
from rhat.generation import Engine, Probe, Request
from rhat.model import precision
from rhat.model.placement import kind_of, place
from rhat.model.precision import resolve_dtype
from rhat.scoring import kl_divergence, refusal_score
from rhat.sites import Site
from tiny import tiny_hf, tiny_tokenizer


@pytest.fixture
def machine(monkeypatch):
    """A machine with these devices."""

    def made(*, cuda=False, mps=False, macos=14):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, _minor: macos >= major)

    return made


def test_auto_takes_apples_gpu_where_there_is_no_other(machine):
    machine(mps=True)
    assert kind_of("auto") == "mps"
    assert place("auto", None, None, None, 0).arguments == {}  # the whole model, on one device
    assert kind_of(None) == "cpu"  # results of Apple's GPU are asked for
    machine(mps=True, cuda=True)
    assert kind_of("auto") == kind_of(None) == "cuda"
    assert place("auto", None, None, None, 0).arguments["device_map"] == "auto"
    machine()
    assert kind_of("auto") == "cpu"
    assert (kind_of("cuda:1"), kind_of(torch.device("cpu"))) == ("cuda", "cpu")
    with pytest.raises(ModelError, match="device 'gpu': expected cpu, cuda, cuda:1, mps or auto"):
        kind_of("gpu")


def test_the_precision_goes_by_the_device(machine):
    machine(mps=True)
    assert resolve_dtype("auto", "mps") == torch.bfloat16
    machine(mps=True, macos=13)
    assert resolve_dtype("auto", "mps") == torch.float32
    assert resolve_dtype("float16", "mps") == torch.float16
    with pytest.raises(ModelError, match="mps has no float64; give --dtype float32, or --device cpu"):
        resolve_dtype("float64", "mps")
    assert resolve_dtype("auto", "cuda") == torch.bfloat16
    assert resolve_dtype("float64", "cpu") == torch.float64


def test_what_the_device_lacks_is_done_on_the_processor(monkeypatch):
    """On a device without float64, here this one, nothing becomes float64 but by `wide`, which goes to the processor first."""
    went = []

    class Apple(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            if func._schema.name == "aten::_to_copy" and isinstance(made, torch.Tensor) and made.dtype == torch.float64:
                assert went, "a tensor of the device becomes float64"
            return made

    plain = precision.wide

    def wide(x):
        went.append(1)
        try:
            return plain(x)
        finally:
            went.pop()

    patched = 0
    for module in list(__import__("sys").modules.values()):
        if getattr(module, "wide", None) is plain and module is not precision:
            monkeypatch.setattr(module, "wide", wide)
            patched += 1
    assert patched >= 6
    hf = tiny_hf("llama", dtype=torch.float32)
    with Apple():
        model = rhat.load((hf, tiny_tokenizer()))
        assert model.fast
        plan, unit = model.plan(["Name a river", "why is seven odd?"]), random_direction(model.d_model, 0)
        capture_all_tokens(model, plan, Site("resid_pre", 1), unit)
        engine = Engine(model, n_slots=2, max_length=96)
        [row] = engine.add([Request(plan.prompts[0], 2, logprobs=2, probe=Probe(Site("resid_pre", 1), unit))])
        engine.step()
        logits = torch.randn(2, 64)
        refusal_score(logits, [3])
        kl_divergence(logits, logits + 1)
    assert row.projection_before
    assert Direction(unit, Site("resid_pre", 1), -1, 1.0, 0.0, 0.0).project(torch.ones(2, model.d_model)).shape == (2,)
