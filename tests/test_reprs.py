"""Every value prints on one short line without prompts' text; tables and frames hold what the values hold."""

import dataclasses
import importlib.util
import inspect
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch

import rhat
from labs import contrast_set, tiny_lab
from rhat.errors import ArtifactError
from rhat.guard import Conditional
from rhat.heads import PatchHeads
from studies import EXAMPLE

ROOT = Path(__file__).parents[1]
SECRET = "Break the lock of the old mill."
LONGEST = 200


def exported_dataclasses():
    spec = importlib.util.spec_from_file_location("api", ROOT / "docs" / "api.py")
    api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api)
    found = {
        value: None
        for _, module in api.modules()
        for value in api.exported(module).values()
        if inspect.isclass(value) and dataclasses.is_dataclass(value)
    }
    return list(found)


CLASSES = exported_dataclasses()
MADE_BELOW = {
    "ChatModel",
    "Direction",
    "Intervention",
    "Combined",
    "PatchHeads",
    "Conditional",
    "Plan",
    "ContrastSet",
    "Finding",
}


def hostile(annotation: str):
    """The longest thing that a field of that type may hold, prompts included."""
    if any(word in annotation for word in ("Tensor", "Float[", "Int[")):
        return torch.full((7, 300), 0.123456789)
    if any(word in annotation for word in ("ndarray", "NDArray")):
        return np.full((7, 300), 0.123456789)
    if annotation in ("float", "float | None"):
        return 0.12345678901234567
    if annotation in ("int", "int | None", "bool"):
        return 7
    if "Mapping" in annotation or "dict" in annotation.lower():
        return {f"{SECRET} {i}": SECRET for i in range(500)}
    if annotation == "Literal" or "Literal[" in annotation:
        return "above"
    if annotation.startswith("str"):
        return f"{SECRET}\n" * 500
    return tuple(f"{SECRET}\n{i}" for i in range(500))


@pytest.mark.parametrize(
    "kind", [kind for kind in CLASSES if kind.__name__ not in MADE_BELOW], ids=lambda k: k.__name__
)
def test_whatever_its_fields_hold_a_value_prints_on_one_line(kind):
    value = object.__new__(kind)
    for field in dataclasses.fields(kind):
        object.__setattr__(value, field.name, hostile(getattr(field.type, "__name__", str(field.type))))
    text = repr(value)
    assert kind.__name__ in text
    assert len(text) <= LONGEST
    assert "\n" not in text
    assert SECRET not in text


def test_the_parts_of_a_lab_print_on_one_line():
    lab = tiny_lab()
    model, direction, finding = lab.model, lab.direction, lab.finding
    values = [
        *(
            lab,
            model,
            direction,
            finding,
            finding.candidates,
            lab.prompts,
            lab.prompts.prompts[0],
            model.plan([SECRET]),
        ),
        *(rhat.ablate(direction), rhat.interventions.combine([rhat.add(direction)] * 9)),
        *(PatchHeads({(1, i): torch.zeros(16) for i in range(99)}), Conditional(rhat.add(direction), direction, 0.5)),
        *(model.generate([SECRET], 4)[0], model.layout, finding.means, model.tokenize and rhat.FindSettings()),
        rhat.scoring.refusals(model, model.tokenize([SECRET] * 9)),
    ]
    texts = [p.text for p in contrast_set().prompts] + [SECRET]
    for value in values:
        text = repr(value)
        assert type(value).__name__ in text
        assert len(text) <= LONGEST, text
        assert "\n" not in text
        assert not [t for t in texts if t in text], text


def test_a_short_prompt_is_not_printed_either():
    prompt = contrast_set().prompts[0]
    assert len(prompt.text) < 40
    assert prompt.text not in repr(prompt)
    assert prompt.id in repr(prompt)


def test_results_and_rows_print_on_one_line_and_as_frames_that_pandas_makes_of_the_file():
    run = rhat.results.load(EXAMPLE)
    plain = json.loads((EXAMPLE / "results.json").read_text("utf-8"))
    for value in (run, run.rates[0], run.comparisons[0], run.direction, run.candidates[0]):
        assert len(repr(value)) <= LONGEST
        assert "\n" not in repr(value)
    for name in ("rates", "comparisons", "candidates"):
        wanted = pd.DataFrame(rhat.results.read(EXAMPLE)[name])
        pd.testing.assert_frame_equal(run.frame(name)[list(wanted)], wanted, check_dtype=False)
    assert len(plain["rates"]) == len(run.frame())
    with pytest.raises(ArtifactError, match=r"expected one of .*candidates, category_rates, ccs, comparisons"):
        run.frame("nothing")
    rows = ElementTree.fromstring(f"<div>{run._repr_html_()}</div>").findall("./table/tbody/tr")
    shown = [float(row.findall("td")[2].text) for row in rows]
    assert shown == pytest.approx([row["rate"] for row in plain["rates"]][:20], rel=1e-3)


def test_candidates_are_a_frame_and_a_table():
    rows = ({"layer": 1, "position": -1, "kl": 0.25}, {"layer": 2, "position": -2, "status": "<b>"})
    finding = dataclasses.replace(tiny_lab().finding, candidates=rows)
    assert finding.candidates == rows
    pd.testing.assert_frame_equal(finding.candidates.frame(), pd.DataFrame(list(rows)))
    html = finding._repr_html_()
    assert "<td>0.25</td>" in html
    assert "&lt;b&gt;" in html
    assert "made up for a test" in html


def test_frames_without_pandas_are_said_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pandas", None)
    for call in (
        lambda: rhat.results.load(EXAMPLE).frame(),
        lambda: rhat.results.per_prompt(tmp_path),
        lambda: dataclasses.replace(tiny_lab().finding).candidates.frame(),
    ):
        with pytest.raises(ArtifactError, match="pip install pandas") as error:
            call()
        assert "\n" not in str(error.value)


def test_values_prompt_by_prompt_are_those_of_the_file(tmp_path):
    frame = pd.DataFrame({"prompt_id": ["a", "b"], "score": [0.5, -1.0]})
    frame.to_parquet(tmp_path / "per_prompt.parquet")
    pd.testing.assert_frame_equal(rhat.results.per_prompt(tmp_path), frame)
    with pytest.raises(ArtifactError, match="no such file"):
        rhat.results.per_prompt(tmp_path / "none")


def test_a_figure_by_name_is_the_reports():
    from rhat.report import drawings

    run = rhat.results.load(EXAMPLE)
    drawn = {drawing.name: figure for drawing, figure in drawings.drawn(run)}
    assert rhat.report.figure(EXAMPLE, "projections").to_json() == drawn["projections"].to_json()
    assert rhat.report.figure(run, "candidates").to_json() == drawn["candidates"].to_json()
    with pytest.raises(ArtifactError, match=r"this run has .*projections"):
        rhat.report.figure(run, "projection")
