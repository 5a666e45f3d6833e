"""Hub ids and revisions, against a server on this machine that speaks the hub's protocol (HF_ENDPOINT)."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rhat
from refusing import refusing_folder

_spec = importlib.util.spec_from_file_location("hub", Path(__file__).with_name("hub.py"))
hub = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hub)

# What is asked for in turn, in a process of its own: where the hub is, is read once a process.
ASKED = {
    "main": {"name": "org/chat"},
    "revision": {"name": "org/chat", "revision": "v2"},
    "again": {"name": "org/chat", "offline": True},
    "gated": {"name": hub.GATED},
    "missing": {"name": "org/nothing"},
    "no revision": {"name": "org/chat", "revision": "v9"},
    "never fetched": {"name": "org/other", "offline": True},
    "no chat template": {"name": "org/base"},
    "sharded": {"name": "org/sharded"},
    "interrupted": {"name": "org/sharded"},  # its weights are taken out of the cache first
}
CODE = """
import json, os, sys, rhat
from pathlib import Path
for case, given in json.loads(sys.argv[1]).items():
    if case == "interrupted":
        [path.unlink() for path in Path(os.environ["HF_HOME"]).glob("hub/models--org--sharded/*/*/*.safetensors")]
    try:
        model = rhat.load(**given, dtype="float32")
        said = {"identity": model.identity, "layers": model.n_layers, "weights": model.hf.lm_head.weight.sum().item()}
    except rhat.RhatError as error:
        said = {"error": type(error).__name__ + ": " + str(error)}
    print(json.dumps([case, said]), flush=True)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = tmp_path_factory.mktemp("hub")
    for name, n_layers in (("one", 2), ("two", 3), ("base", 2), ("sharded", 4)):
        refusing_folder(made / name, steps=0, n_layers=n_layers)
    (made / "base" / "chat_template.jinja").unlink()
    rhat.load(made / "sharded").hf.save_pretrained(made / "sharded", max_shard_size="60kB")
    (made / "sharded" / "model.safetensors").unlink()
    return made


@pytest.fixture(scope="module")
def answers(folders, tmp_path_factory):
    repos = {
        "org/chat": {"main": folders / "one", "v2": folders / "two"},
        "org/base": {"main": folders / "base"},
        "org/sharded": {"main": folders / "sharded"},
    }
    home = tmp_path_factory.mktemp("home")
    with hub.serving(repos) as server:
        own = {"HF_ENDPOINT": server.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
        kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        done = subprocess.run(
            [sys.executable, "-c", CODE, json.dumps(ASKED)],
            env=kept | own,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said = dict(json.loads(line) for line in done.stdout.splitlines())
        assert "\n" not in "".join(a.get("error", "") for a in said.values())
        yield said, server.asked


@pytest.mark.parametrize(("case", "revision", "folder"), [("main", "main", "one"), ("revision", "v2", "two")])
def test_a_hub_id_is_its_revisions_weights(answers, folders, case, revision, folder):
    local = rhat.load(folders / folder, dtype="float32")
    assert answers[0][case] == {
        "identity": hub.commit_of("org/chat", revision),
        "layers": local.n_layers,
        "weights": pytest.approx(local.hf.lm_head.weight.sum().item()),
    }


def test_what_was_fetched_needs_no_hub(answers):
    assert answers[0]["again"] == answers[0]["main"]


def test_what_an_interrupted_download_left_out_is_fetched(answers):
    assert answers[0]["interrupted"] == answers[0]["sharded"]


def test_a_sharded_model_is_put_together(answers, folders):
    shards = sorted(p.name for p in (folders / "sharded").glob("*.safetensors"))
    assert len(shards) > 2
    assert answers[0]["sharded"]["layers"] == 4
    assert {f"/org/sharded/resolve/{hub.commit_of('org/sharded', 'main')}/{name}" for name in shards} <= {
        path.replace("/main/", f"/{hub.commit_of('org/sharded', 'main')}/") for path in answers[1]
    }


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("gated", "ModelError: org/gated: this model is gated; ask for access on its hub page, then log in with"),
        ("missing", "ModelError: org/nothing: the hub has no such model, or it is private; check the name, or log in"),
        ("no revision", "ModelError: org/chat: the hub has this model, but not that revision; check --revision"),
        ("never fetched", "ModelError: org/other: not in the local cache, and the hub cannot be reached (or --offline"),
        (
            "no chat template",
            "TemplateError: org/base: this model has no chat template, so it is probably a base model",
        ),
    ],
)
def test_what_cannot_be_had_says_why_and_what_to_do(answers, case, said):
    assert answers[0][case]["error"].startswith(said)
