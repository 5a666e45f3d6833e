"""An operator or a scope is one record: whatever names operators names each of them, with its own number and default."""

import importlib.util
import json
import math
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

import rhat
from rhat import vectors
from rhat.artifacts.header import Condition
from rhat.artifacts.run import Results
from rhat.cli import run
from rhat.directions import FINDERS, Direction
from rhat.display import wording
from rhat.errors import InterventionError
from rhat.report import appendix
from rhat.server.specs import InterventionSpec, RhatOptions
from rhat.sites import Site
from rhat.vocabulary import (
    DEFAULT_PRESET,
    DTYPE_NAMES,
    FINDER_KINDS,
    OPERATORS,
    PARAMETERS,
    PRESETS,
    RULE_KINDS,
    SCOPES,
)
from rhat.vocabulary.presets import Preset

ROOT = Path(__file__).parents[2]


@pytest.fixture
def direction():
    return Direction(torch.nn.functional.normalize(torch.ones(8), dim=0), Site("resid_pre", 1), -1, 3.0, 12.0, 0.5)


@pytest.fixture(params=OPERATORS.values(), ids=list(OPERATORS))
def operator(request):
    return request.param


def test_the_library_has_a_function_for_it_with_its_own_default(operator, direction):
    made = getattr(rhat, operator.name)(direction)
    assert made.op == operator.name
    described = made.describe()
    if operator.parameter is None:
        assert set(described) == {"op", "sites", "scope"}
        with pytest.raises(InterventionError, match="takes no number"):
            rhat.intervene(operator.name, direction, value=1.0)
    else:
        default = operator.parameter.default
        mean = {"harmful": direction.mean_harmful, "harmless": direction.mean_harmless}[operator.parameter.mean]
        assert described[operator.parameter.name] == (mean if default is None else default)
        assert rhat.intervene(operator.name, direction, value=2.5).describe()[operator.parameter.name] == 2.5
    assert (made.where == "all layers") == operator.everywhere


def test_a_request_may_name_it_and_only_its_own_number(operator):
    for name in PARAMETERS:
        request = {"op": operator.name, name: 1.5}
        if operator.parameter is not None and operator.parameter.name == name:
            assert InterventionSpec(**request).value == 1.5
        else:
            with pytest.raises(ValidationError, match=f"{name} is for"):
                InterventionSpec(**request)


def test_a_request_may_give_alpha_in_place_of_the_number(operator):
    assert InterventionSpec(op=operator.name, alpha=0.5).alpha == 0.5
    if operator.parameter is not None:
        with pytest.raises(ValidationError, match="got alpha and a number of its own"):
            InterventionSpec(**{"op": operator.name, "alpha": 0.5, operator.parameter.name: 1.0})


def test_a_mean_by_name_is_for_numbers_on_the_scale_of_projections(operator):
    if operator.parameter is None:
        return
    request = {"op": operator.name, operator.parameter.name: "harmless_mean"}
    if operator.parameter.by_means:
        assert InterventionSpec(**request).value == "harmless_mean"
    else:
        with pytest.raises(ValidationError):
            InterventionSpec(**request)


def test_results_have_a_field_for_its_number_and_the_report_a_column(operator, direction):
    said = getattr(rhat, operator.name)(direction).describe()
    condition = Condition.of({**said, "sites": [said["sites"]], "direction": "rhat"})
    run = Results.model_construct(conditions={"mine": condition})
    (table,) = appendix.conditions(run)
    if operator.parameter is not None:
        name = operator.parameter.name
        assert condition.plain()[name] == said[name]
        assert name.capitalize() in [head.title for head in table.heads]


def test_the_servers_description_names_it(operator):
    schema = json.dumps(TypeAdapter(RhatOptions).json_schema())
    assert f'"{operator.name}"' in schema
    assert operator.parameter is None or f'"{operator.parameter.name}"' in schema


def test_the_command_takes_it_and_its_help_explains_its_number(operator, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    run(["steer", "--help"])
    said = re.sub(r"[\s│]+", " ", capfd.readouterr().out)
    assert operator.name in said
    if operator.parameter is not None:
        assert f"{operator.parameter.name} of " in said
        assert operator.parameter.default_text.split()[0] in said


def test_reports_have_a_word_for_it(operator):
    assert wording.operator(operator.name) == operator.word


@pytest.mark.parametrize("kind", SCOPES.values(), ids=list(SCOPES))
def test_reports_have_words_for_every_scope(kind):
    written = f"{kind.name}:3" if kind.counted else kind.name
    assert "{" not in wording.scope(written)
    assert wording.scope(written) == kind.label.replace("{n}", "3")


def test_the_pages_tables_are_those_of_the_records():
    spec = importlib.util.spec_from_file_location("vocabulary_page", ROOT / "docs" / "vocabulary.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages = {name: (module.DOCS / name).read_text("utf-8") for name in module.TABLES}
    for name, page in pages.items():
        assert module.written(name) == page, "run python docs/vocabulary.py"
    for operator in OPERATORS.values():
        assert f"| `{operator.name}` | {operator.formula} |" in pages["steering.md"]
        assert f"`{operator.name}`" in pages["serving.md"].split("| `op` |")[1].splitlines()[0]
    for name in PARAMETERS:
        assert f"| `{name}` | " in pages["serving.md"]
    for finder in FINDERS:
        assert f"| `{FINDER_KINDS[finder].written}` | {FINDER_KINDS[finder].label} | " in pages["finding.md"]
    for rule in RULE_KINDS.values():
        assert f"| `{rule.name}` | {rule.formula} | " in pages["finding.md"]
    for preset in PRESETS.values():
        assert f"| `{preset.name}` | {preset.duration} |" in pages["commands.md"]


def test_a_preset_has_no_field_that_nothing_reads():
    source = "\n".join(
        path.read_text("utf-8") for path in (*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").glob("*.py"))
    )
    assert not [one.name for one in fields(Preset) if not re.search(rf"\.{one.name}\b", source)]


def test_the_diff_of_the_librarys_page_is_what_the_source_holds():
    found = re.findall(r"```diff\n(.*?)```", (ROOT / "docs" / "library.md").read_text("utf-8"), re.DOTALL)
    [diff] = [diff for diff in found if "vocabulary/operators.py" in diff]
    parts = re.split(r"^--- (.*)\n", diff, flags=re.MULTILINE)[1:]
    assert len(parts) == 10
    for file, lines in zip(parts[::2], parts[1::2], strict=True):
        source = (ROOT / file).read_text("utf-8").splitlines()
        assert all(line[0] == "+" and line[1:] in source for line in lines.splitlines()), file


@pytest.mark.parametrize("command", ["study", "heads", "layers", "pca", "probe"])
def test_commands_take_every_preset_and_no_other(command, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    run([command, "--help"])
    said = re.sub(r"[\s│]+", " ", capfd.readouterr().out)
    assert "|".join(PRESETS) in said
    assert f"[default: {DEFAULT_PRESET}]" in said
    if command == "study":
        assert all(f"{preset.name}: {preset.duration}" in said for preset in PRESETS.values())


def test_precisions_are_those_of_torch_and_the_command_takes_each(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    run(["check", "--help"])
    said = re.sub(r"[\s│]+", "", capfd.readouterr().out)
    assert "|".join(("auto", *DTYPE_NAMES)) in said
    assert all(isinstance(getattr(torch, name), torch.dtype) for name in DTYPE_NAMES)


def test_scripts_for_other_tools_compute_it(operator):
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    r = torch.nn.functional.normalize(x[0, 0] + 1, dim=0)
    said = eval(operator.code, {"x": x, "r": r, "VALUE": 1.7, "math": math})
    torch.testing.assert_close(said, operator(x, r, 1.7), atol=1e-12, rtol=0)
    for name in ("nnsight", "transformer-lens", "safetensors"):
        assert operator.name in vectors.FORMATS[name].operators


def test_the_playground_offers_it_and_its_slider_says_what_it_moves(operator):
    dial = pytest.importorskip("rhat.server.playground.dial")
    label = dial.slider_label(operator.name)
    if operator.parameter is None:
        assert label == ""
    else:
        assert label.startswith("α: ") if operator.parameter.span is None else label == operator.parameter.label
