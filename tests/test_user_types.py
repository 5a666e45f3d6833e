"""A user's script of ten lines under `mypy --strict`: it passes, and nothing that it reveals is Any."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import rhat

SCRIPT = """\
import rhat

model = rhat.load("qwen2.5-coder-0.5b")
found = rhat.find(model, rhat.prompts.builtin())
assert found.direction is not None
strong = rhat.set_projection(found.direction, target=12.0)
reveal_type(rhat.find)
reveal_type(rhat.prompts.builtin)
reveal_type(found)
reveal_type(found.direction)
reveal_type(found.direction.mean_harmful)
reveal_type(strong)
reveal_type(model.generate(["Hello"]))
reveal_type(rhat.statistics.wilson(3, 10))
reveal_type(rhat.sites.Site("resid_pre", 3).layer)
"""
REVEALED = (
    "def (model: rhat.model.chat.ChatModel, prompts: rhat.prompts.contrast.ContrastSet,",
    "-> rhat.prompts.contrast.ContrastSet",
    "rhat.selection.finding.Finding",
    "rhat.directions.direction.Direction",
    "float",
    "rhat.interventions.intervention.Intervention",
    "list[rhat.model.completion.Completion]",
    "rhat.statistics.intervals.Interval",
    "int",
)
# What rhat's types are made of is the types of rhat: the large packages below it are not read, which takes minutes.
SETTINGS = """\
[mypy]
strict = True
follow_imports = silent
ignore_missing_imports = True
disable_error_code = name-defined, valid-type, syntax
[mypy-torch.*,transformers.*,numpy.*,scipy.*,pandas.*,plotly.*,matplotlib.*,pyarrow.*,datasets.*,huggingface_hub.*,pydantic.*]
follow_imports = skip
"""


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy comes with rhat[dev]")
def test_a_users_script_has_precise_types(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(SETTINGS, encoding="utf-8")
    made = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "script.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(Path(rhat.__file__).parents[1]), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    revealed = re.findall(r'Revealed type is "(.*)"', made.stdout)
    assert len(revealed) == len(REVEALED)
    for found, expected in zip(revealed, REVEALED, strict=True):
        assert expected in found
        assert not re.search(r"\bAny\b", found), found
