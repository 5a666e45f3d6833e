"""Proofs that are kept: the same layout and the same way of running, and never those of other weights."""

import json

import pytest
import torch

import rhat
from rhat.model import chat, loading, proofs
from rhat.model.discovery import discover
from tiny import FAMILIES, tiny_chat_model, tiny_hf, tiny_tokenizer

SOME = [f for f in ("llama", "gpt2", "gemma2", "phi", "opt", "gpt-neox", "mixtral", "falcon") if f in FAMILIES]


@pytest.mark.parametrize("family", SOME)
def test_a_layout_comes_back_as_it_was(family):
    hf = tiny_chat_model(family).hf
    made = discover(hf)
    again = proofs.from_values(hf, json.loads(json.dumps(proofs.as_values(made))))
    assert vars(again).keys() == vars(made).keys()
    for name, value in vars(made).items():
        if name != "parts":
            assert getattr(again, name) == value, name
    for one, other in zip(again.parts, made.parts, strict=True):
        for name, value in vars(other).items():
            got = getattr(one, name)
            assert got is value if isinstance(value, torch.nn.Module) else got == value, name


@pytest.fixture
def folder(tmp_path, monkeypatch, nothing_proved_before):
    """A tiny model's folder, and a cache that keeps proofs."""
    monkeypatch.setattr(proofs, "proved", nothing_proved_before)
    monkeypatch.setenv("RHAT_CACHE", str(tmp_path / "cache"))
    return saved(tmp_path / "model", 0)


def saved(path, seed):
    torch.manual_seed(seed)
    tiny_hf(dtype=torch.float32).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def tried(monkeypatch):
    """How often a layout was looked for and the fast path tried."""
    counts = {"layout": 0, "trial": 0}

    def counting(name, run):
        def counted(*given, **more):
            counts[name] += 1
            return run(*given, **more)

        return counted

    monkeypatch.setattr(loading, "discover", counting("layout", loading.discover))
    monkeypatch.setattr(chat, "try_fast_path", counting("trial", chat.try_fast_path))
    return counts


def opened(folder, **more):
    model = rhat.load(folder, **{"dtype": "float32", **more})
    return model, model.execution


def test_the_same_weights_are_tried_once(folder, tried):
    first, way = opened(folder)
    again, same = opened(folder)
    assert tried == {"layout": 1, "trial": 1}
    assert same == way
    assert first.layout.parts[1].names == again.layout.parts[1].names
    assert again.layout.parts[1].mlp_out in set(again.hf.modules())
    opened(folder, dtype="float64")
    assert tried == {"layout": 2, "trial": 2}


def test_other_weights_and_damaged_files_are_tried_again(folder, tried, tmp_path, caplog):
    opened(folder)
    weights = next(folder.glob("*.safetensors"))
    changed = bytearray(weights.read_bytes())
    changed[-4:] = b"\x00\x00\x00\x00"
    weights.write_bytes(changed)
    opened(folder)
    assert tried == {"layout": 2, "trial": 2}
    for path in (tmp_path / "cache" / "proofs").iterdir():
        path.write_text("{")
    opened(folder)
    assert tried == {"layout": 3, "trial": 3}
    assert "damaged; the model is tried again" in caplog.text
    for path in (tmp_path / "cache" / "proofs").iterdir():
        if "parts" in path.read_text():
            path.write_text("{}")
    opened(folder)
    assert tried == {"layout": 4, "trial": 3}
    assert "does not fit; it is found again" in caplog.text


def test_other_code_tries_again(folder, tried, monkeypatch):
    opened(folder)
    monkeypatch.setattr(proofs, "versions", lambda: ("another",))
    opened(folder)
    assert tried == {"layout": 2, "trial": 2}


def test_nothing_is_kept_of_what_cannot_be_told_apart(folder, tried, tmp_path):
    for _ in range(2):
        rhat.load((tiny_hf(), tiny_tokenizer())).execution  # noqa: B018
    assert tried == {"layout": 2, "trial": 2}
    assert not (tmp_path / "cache" / "proofs").exists()
    model, _ = opened(folder)
    assert proofs.key_of(model.hf, "main") is None
    assert proofs.key_of(model.hf, "0" * 40)
    type(model.hf).__module__, before = "transformers_modules.theirs", type(model.hf).__module__
    try:
        assert proofs.key_of(model.hf, "0" * 40) is None
    finally:
        type(model.hf).__module__ = before
