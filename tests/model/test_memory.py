"""A model larger than the memory that it may take: read from disk piece by piece, and it finds the same r̂."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rhat
from labs import contrast_set
from refusing import refusing_folder, refusing_hf, widened
from rhat.errors import ModelError
from rhat.heads.attribution import output_weight
from rhat.model import last_logits
from rhat.model.placement import bytes_of, weights_within
from rhat.selection.finding import find
from rhat.selection.settings import FindSettings
from tiny import tiny_tokenizer

QUICK = {"train": 24, "validation": 8, "token_prompts": 8}
MEASURED = """
import json, sys, threading, time
sys.path.insert(0, {tests!r})
import psutil, torch
torch.set_num_threads(1)
import rhat, accelerate.hooks, jinja2.ext, statsmodels.api, transformers
from labs import contrast_set, tiny_chat_model
from rhat.selection.finding import find
from rhat.selection.settings import FindSettings
from transformers import AutoTokenizer, LlamaForCausalLM

tiny_chat_model().generate(["What transformers imports when it is used for the first time."], 2)

def resident():
    return psutil.Process().memory_info().rss

def watch():
    while not done:
        peak[0] = max(peak[0], resident())
        time.sleep(0.003)

before = resident()
peak, done = [before], []
watcher = threading.Thread(target=watch)
watcher.start()
try:
    model = rhat.load({folder!r}, dtype="float32", max_memory={limit!r})
    finding = find(model, contrast_set(), FindSettings(**{settings!r}))
finally:
    done.append(True)
    watcher.join()
r = finding.direction
print(json.dumps([peak[0] - before, finding.outcome, r.layer, r.position, r.unit.tolist()]))
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A model of 150 MB."""
    return refusing_folder(tmp_path_factory.mktemp("models") / "wide", wide=(768, 3072))


def sizes(folder):
    """Bytes of the whole model, and of its largest module."""
    model = rhat.load(folder, dtype="float32")
    modules = [*(p.block for p in model.layout.parts), model.hf.get_input_embeddings(), model.hf.lm_head]
    largest = max(sum(w.nbytes for w in module.parameters()) for module in modules)
    return sum(w.nbytes for w in model.hf.parameters()), largest, model


def test_a_model_four_times_the_memory_is_searched_within_it(wide):
    whole, largest, model = sizes(wide)
    limit = whole // 4
    code = MEASURED.format(tests=str(Path(__file__).parents[1]), folder=str(wide), limit=limit, settings=QUICK)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    peak, outcome, layer, position, unit = json.loads(done.stdout.splitlines()[-1])
    assert peak < limit + largest < whole
    found = find(model, contrast_set(), FindSettings(**QUICK))  # with all of it in memory
    assert outcome == found.outcome == "found"
    assert (layer, position) == (found.direction.layer, found.direction.position)
    assert float(torch.tensor(unit) @ found.direction.unit) > 0.9999


def test_what_is_on_disk_computes_what_is_in_memory(tmp_path):
    folder = refusing_folder(tmp_path / "model", steps=0)
    whole = rhat.load(folder, dtype="float32")
    streamed = rhat.load(folder, dtype="float32", max_memory="60kB")
    assert set(streamed.hf.hf_device_map.values()) >= {"disk"}
    assert streamed.fast
    texts = ["Name a river.", "Why is the sky blue at noon?", "Break the lock."]
    said = [torch.cat([x for _, x in last_logits(m, m.plan(texts, max_rows=1))]) for m in (whole, streamed)]
    torch.testing.assert_close(*said)
    assert streamed.generate(texts, 6) == whole.generate(texts, 6)
    torch.testing.assert_close(output_weight(streamed, 2), output_weight(whole, 2).detach())


def test_widening_changes_nothing_that_is_computed():
    small = refusing_hf(steps=0, rms_norm_eps=0.0)
    with torch.no_grad():
        logits = [hf.double()(torch.arange(20, 40)[None]).logits for hf in (small, widened(small, 64, 128))]
    torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)


def test_less_memory_means_smaller_passes_in_the_same_order(tmp_path):
    folder = refusing_folder(tmp_path / "model", steps=0)
    hf = rhat.load(folder).hf
    model = rhat.load((hf, tiny_tokenizer()))
    assert model.room == {"max_tokens": 2048, "max_rows": 64}
    model = rhat.load(folder, max_memory="1MB")
    assert 64 <= model.room["max_tokens"] < 2048
    assert len(model.plan([f"Paint wall {i}." for i in range(90)]).batches) > 4


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("512MiB", 512 * 2**20), (" 1.5 gb ", 1_500_000_000), ("64k", 64_000), (4096, 4096)],
)
def test_memory_is_read_as_it_is_written(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "lots", "8 apples", "-1GB", "0"])
def test_memory_that_is_none(text):
    with pytest.raises(ModelError, match=r"memory .*: expected a number and a unit, such as 8GB or 512MiB"):
        bytes_of(text)


def test_half_of_the_memory_is_left_to_work_in(monkeypatch):
    monkeypatch.setattr("accelerate.utils.get_max_memory", lambda: {0: 40, 1: 40, "cpu": 1000})
    assert weights_within(100) == {0: 40, 1: 40, "cpu": 50}
    assert weights_within(100, "auto") == {0: 40, 1: 40, "cpu": 50}
    assert weights_within(100, "cpu") == {"cpu": 50}


def test_a_wrong_amount_is_told_before_anything_is_fetched(monkeypatch):
    monkeypatch.setattr("rhat.model.loading.locate", lambda *_: pytest.fail("looked for the model first"))
    with pytest.raises(ModelError, match="expected a number and a unit"):
        rhat.load(max_memory="lots")
