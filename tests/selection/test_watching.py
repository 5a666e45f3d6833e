"""`rhat.find` shows how far it is where somebody watches, and nothing elsewhere."""

import io
import sys

import pytest
import torch

import rhat
from labs import contrast_set
from tiny import tiny_chat_model


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(scope="module")
def model():
    return tiny_chat_model("llama", n_layers=2, dtype=torch.float64)


def found_with(model, monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    settings = rhat.FindSettings(refusal_tokens=(40,))
    rhat.find(model, contrast_set(), settings)
    return stream.getvalue()


def test_terminals_show_stages_and_pipes_nothing(model, monkeypatch):
    shown = found_with(model, monkeypatch, Terminal())
    assert "activations" in shown
    assert "%" in shown
    assert found_with(model, monkeypatch, io.StringIO()) == ""


def test_a_callback_of_ones_own_is_told_and_nothing_is_shown(model, monkeypatch):
    stream, told = Terminal(), []
    monkeypatch.setattr(sys, "stderr", stream)
    settings = rhat.FindSettings(refusal_tokens=(40,))
    rhat.find(model, contrast_set(), settings, progress=lambda *what: told.append(what))
    assert "activations" in {stage for stage, _, _ in told}
    assert stream.getvalue() == ""
