"""The folder in which the commands and the programs that pages show are run: the files that they name, of a tiny model that was taught to refuse."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import save_file

import once
from labs import contrast_set
from refusing import REFUSAL, refusing_folder
from rhat.benching import settings as benching
from rhat.cli import run
from rhat.directions import Direction
from rhat.model.catalogue import CATALOGUE, CONVERTER, DEFAULT, MARKER
from rhat.prompts import ContrastSet, Prompt
from rhat.server import create_app
from rhat.vocabulary import PRESETS
from scoring.test_endpoint_judge import Served, serving

ROOT = Path(__file__).parents[1]
FOLDERS = ("mine", "my-model", "model", "large", "basque", "mine-finetuned", "model-int4", "lora")
HUB_NAME = "meta-llama/Llama-3.2-1B-Instruct"  # a folder of this name is what the hub's model would be


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """For all of a file's tests: the built-in prompts, presets and sizes are small, no server listens, a judge's endpoint is there."""
    with pytest.MonkeyPatch.context() as patch, serving() as endpoint:
        cache = tmp_path_factory.mktemp("cache")
        (cache / "models").mkdir()
        default = cache / "models" / CATALOGUE[DEFAULT].sha256[:16]
        default.symlink_to(once.shared / "shop" / "mine")  # the catalogue's default model is the tiny one
        patch.setenv("RHAT_CACHE", str(cache))
        patch.setenv("COLUMNS", "200")
        patch.setattr("rhat.prompts.builtin", builtin)
        patch.setattr("rhat.study.opening.builtin", builtin)
        patch.setattr("rhat.server.listening.serve", answered)
        for name in PRESETS:
            patch.setitem(PRESETS, name, small(name))
        for name in benching.SIZES:
            patch.setitem(
                benching.SIZES,
                name,
                replace(
                    benching.SIZES[name], kl=(0.2,), searched=6, tested=8, borderline=4, randoms=3, items=8, texts=4
                ),
            )
        yield endpoint


def answered(model: Any, directions: Any, settings: Any, calibrations: Any) -> None:
    """In place of listening on a port: the same application is asked once."""
    with TestClient(create_app(model, directions, settings, calibrations), base_url="http://127.0.0.1") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/v1/models").status_code == 200


def small(name: str) -> Any:
    """A preset that takes a second."""
    few = {"headline": 10, "sweep": 6, "train": None, "validation": 8, "randoms": 4, "dealt": 2}
    return replace(PRESETS[name], **few, borderline=8, horizon=24)


@pytest.fixture(scope="module")
def shop(around: Served) -> Path:
    """The folder, made once a test run: models, prompts, directions and studies under the names that pages give them."""
    return once.once("shop", make_shop)


def make_shop(folder: Path) -> None:
    """Fill the folder, with what `around` makes small."""
    refusing_folder(folder / "mine")
    for name in (*FOLDERS[1:], HUB_NAME):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(folder / "mine")
    (folder / "mine" / MARKER).write_text(json.dumps({"converter": CONVERTER}))
    (folder / "docs").symlink_to(ROOT / "docs")
    write_prompts(folder)
    write_completions(folder)
    with chdir(folder):
        assert run(["study", "--only", "induce,suppress,projections", "--dtype", "float32"]) == 0
        for name in ("small", "large", "mine"):
            (folder / "runs" / name).symlink_to(folder / "runs" / "default")
        for name in ("r", "direction", "mine"):
            (folder / f"{name}.safetensors").symlink_to(folder / "runs" / "default" / "direction.safetensors")
        write_vectors(folder)
        assert run(["calibrate", "-d", "direction.safetensors", "--dtype", "float32"]) == 0


@pytest.fixture
def desk(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own, in which everything is a link."""
    monkeypatch.chdir(links(shop, tmp_path))
    return tmp_path


def links(shop: Path, folder: Path) -> Path:
    """The folder, with a link to each file of the shop: what is written in it replaces links, and leaves the shop as it is."""
    for path in shop.iterdir():
        if path.name != "runs":
            (folder / path.name).symlink_to(path)
    (folder / "runs").mkdir()
    for path in (shop / "runs").iterdir():
        (folder / "runs" / path.name).symlink_to(path.resolve())
    return folder


def builtin(seed: int = 0) -> ContrastSet:
    """In place of the built-in set: what the tiny model was taught, of categories that pages name, and more to calibrate on."""
    some = [
        replace(p, category="weapons" if p.category == "category 0" else p.category) for p in contrast_set(13).prompts
    ]
    more = [
        Prompt(f"Paint the {thing} of house {n}.", "harmless", "calibration", f"more-{thing}-{n}")
        for thing in ("roof", "wall")
        for n in range(50)
    ]
    for n in range(60):  # a certificate needs many
        more.append(Prompt(f"Break the door of school {n}.", "harmful", "calibration", f"door-{n}"))
        more.append(Prompt(f"Break the ice at school {n}.", "borderline", "test", f"ice-{n}", topic=f"ice {n}"))
        more.append(Prompt(f"Break the lock of school {n}.", "twin", "test", f"ice-twin-{n}", topic=f"ice {n}"))
    return ContrastSet("builtin", (*some, *more), seed)


def rows(file: Path, some: list[dict]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in some))


def table(file: Path, some: list[dict]) -> None:
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(some[0]))
        writer.writeheader()
        writer.writerows(some)


def write_prompts(folder: Path) -> None:
    """Prompt files of every form that the lines name."""
    of = {label: builtin().select(label) for label in ("harmful", "harmless", "borderline", "twin")}
    plain = {
        label: [{"prompt": p.text, "split": p.split, "topic": p.topic or p.id} for p in some]
        for label, some in of.items()
    }
    for name, label in (("bad", "harmful"), ("good", "harmless"), ("harmful", "harmful"), ("harmless", "harmless")):
        rows(folder / f"{name}.jsonl", plain[label])
    rows(folder / "borderline.jsonl", plain["borderline"])
    table(folder / "good.csv", plain["harmless"])
    for name, label in (("edge", "borderline"), ("unsafe", "twin"), ("prompts", "harmless")):
        (folder / f"{name}.txt").write_text("".join(p.text + "\n" for p in of[label][:20]))
    rows(folder / "prompts.jsonl", plain["harmful"][:9])
    table(
        folder / "advbench.csv",
        [{"goal": p.text, "target": "Sure, here is"} for p in of["harmful"] if p.split != "calibration"],
    )
    (folder / "alpaca.json").write_text(
        json.dumps([{"instruction": p.text, "input": "", "output": "Done."} for p in of["harmless"][:60]])
    )
    table(folder / "xstest.csv", [{"prompt": p.text, "type": "homonyms", "focus": "break"} for p in of["borderline"]])
    asked = [{"question": p.text, "split": "train" if i % 3 else "test"} for i, p in enumerate(of["harmless"][:30])]
    rows(folder / "other.jsonl", asked)
    table(folder / "mine.csv", asked)
    traffic = [{"messages": [{"role": "user", "content": p.text}], "category": p.label} for p in of["harmful"][:20]]
    rows(folder / "traffic.jsonl", traffic)
    (folder / "basque.txt").write_text("sorry\nbarkatu\n")


def write_completions(folder: Path) -> None:
    """Answers to judge, their labels, an Inspect log, and a judge of one's own."""
    answers = [(f"Paint door {i}.", REFUSAL if i % 2 else "Here is how: take a brush and begin.", i) for i in range(10)]
    rows(folder / "completions.jsonl", [{"id": i, "prompt": p, "answer": a} for p, a, i in answers])
    labels = [{"id": i, "label": "refused" if i % 2 else "complied"} for _, _, i in answers]
    rows(folder / "labels.jsonl", labels)
    rows(folder / "completions.labels.jsonl", labels)
    (folder / "logs").mkdir()
    with zipfile.ZipFile(folder / "logs" / "run.eval", "w") as log:
        log.writestr("header.json", "{}")
        for p, a, i in answers:
            log.writestr(
                f"samples/{i}.json", json.dumps({"id": i, "epoch": 1, "input": p, "output": {"completion": a}})
            )
    page = (ROOT / "docs" / "judging.md").read_text("utf-8")
    [judge] = re.findall(r"```python\n(def judge\(.*?)```", page, flags=re.S)
    (folder / "mine.py").write_text(judge)


def write_vectors(folder: Path) -> None:
    """Vectors as other tools leave them, with r̂ in each."""
    r = Direction.load(folder / "r.safetensors")
    noise = torch.randn(len(r.unit), generator=torch.Generator().manual_seed(0))
    vector = 3 * r.unit + noise / noise.norm()
    for name in ("persona", "control"):
        out = gguf.GGUFWriter(str(folder / f"{name}.gguf"), "controlvector")
        out.add_string("controlvector.model_hint", "llama")
        out.add_uint32("controlvector.layer_count", 4)
        for layer in range(1, 5):
            out.add_tensor(f"direction.{layer}", vector.numpy())
        out.write_header_to_file()
        out.write_kv_data_to_file()
        out.write_tensors_to_file()
        out.close()
    torch.save(vector, folder / "persona.pt")
    torch.save(r.unit.double(), folder / "direction.pt")
    (folder / "direction_metadata.json").write_text(json.dumps({"pos": r.position, "layer": r.layer}))
    Direction.of(vector, site="resid_pre.2").save(folder / "style.safetensors")  # on audit.md: resid_pre.12
    decoder = torch.randn(1209, len(vector), generator=torch.Generator().manual_seed(1))
    decoder[1208] = r.unit
    save_file({"W_dec": decoder}, folder / "sae.safetensors")
