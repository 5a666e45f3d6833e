"""Every benchmark script imports, and each name of rhat that it uses or replaces exists."""

import ast
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import studies
from tiny import tiny_chat_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(BENCHMARKS.glob("*.py"))


def uses(tree):
    """(module, attribute) of every name of rhat that is imported anywhere in a script, or reached through an imported module."""
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "rhat":
            for name in node.names:
                yield node.module, name.name
                modules[name.asname or name.name] = f"{node.module}.{name.name}"
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.partition(".")[0] == "rhat":
                    yield name.name, None
                    modules[name.asname or name.name] = name.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr


def exists(module, attribute):
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError:  # a class or function: its attributes
        parent, _, name = module.rpartition(".")
        found = getattr(importlib.import_module(parent), name)
    if attribute is None or hasattr(found, attribute):
        return True
    try:
        importlib.import_module(f"{module}.{attribute}")
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_name_of_rhat_that_a_benchmark_uses_exists(script):
    missing = {f"{m}.{a}" for m, a in uses(ast.parse(script.read_text("utf-8"))) if not exists(m, a)}
    assert not missing


def test_every_benchmark_imports():
    command = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    names = [script.stem for script in SCRIPTS]
    done = subprocess.run([sys.executable, "-c", command, *names], cwd=BENCHMARKS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def subject(monkeypatch):
    """The smallest mode of a benchmark, on a tiny model."""
    from rhat.directions import Direction
    from rhat.prompts import builtin
    from rhat.sites import Site

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("subject")
    made = module.Subject(quick=True)
    model = tiny_chat_model("llama")
    unit = torch.nn.functional.normalize(torch.ones(model.d_model), dim=0)
    made.__dict__ |= {
        "model": model,
        "prompts": builtin(),
        "direction": Direction(unit, Site("resid_pre", 1), -1, 3.0, 2.0, 0.5),
    }
    return made


def test_parts_of_the_fast_path_run_with_and_without(subject):
    works = importlib.import_module("tricks").works(subject)
    assert len(works) > 10
    for on, off in works.values():
        on()
        off()


@pytest.mark.parametrize("family", ["parts of the sequence (fixed sequence)", "primary claims (Holm)"])
def test_a_family_of_claims_is_seldom_false(monkeypatch, family):
    """The simulation of docs/method.md, short: 5 % of 60 studies is 3, and 8 or more would come up once in 100 times."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    coverage = importlib.import_module("coverage")
    monkeypatch.setattr(
        coverage.paired, "prompts_needed", lambda *_: None
    )  # no part of a verdict, and most of the time
    study, truths = coverage.FAMILIES[family]
    for rates in truths.values():
        plain, ours = coverage.family_cell(np.random.default_rng(1), study, rates, 40, 0.3, 60)
        assert ours * 60 < 8
        assert ours <= plain


def test_what_a_gpu_is_asked_runs_on_a_processor(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(os, "environ", os.environ.copy())
    gpu = importlib.import_module("gpu")
    given = studies.arguments(tmp_path)
    out = tmp_path / "gpu.json"
    small = ("--device=cpu", "--runs=1", "--prompts=4", "--preset=quick", f"--out={out}")
    files = [f"--{name}={given[name]}" for name in ("harmful", "harmless")]
    found = gpu.measured([given["model"], *small, *files, "--families", "llama", "mamba", "--experiments", "pca"])
    assert json.loads(out.read_text()) == found
    assert found["conformance"] == {"llama": {"ok": True, "fast": True, "fails": []}}
    assert all(one[tool] > 0 for one in found["speed"].values() for tool in ("rhat", "transformers"))
    assert found["study"]["outcome"].startswith("found")
    assert found["study"]["stages"]["pca"] > 0
    said = gpu.table(found)
    for part in ("families that conform: 1 of 1", "| scoring pass, 4 prompts |", "study, preset quick"):
        assert part in said
