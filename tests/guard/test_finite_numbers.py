"""Files, finders, gates and attributions take no NaN and no infinity for a number."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

import rhat
from overflow import BAD, FINE, poisoned
from rhat import results
from rhat.capture import Moments
from rhat.directions import FINDERS, Direction, fit_ccs, mean_difference, random_direction
from rhat.errors import (
    ArtifactError,
    ContrastError,
    DirectionError,
    InterventionError,
    ModelError,
    NonFiniteError,
    StatisticsError,
)
from rhat.guard import Calibration, Conditional, evaluate_projections, from_projections, prompt_projections
from rhat.heads import Attribution, attribute
from rhat.interventions import ablate
from rhat.selection.means import Means
from rhat.sites import Site
from rhat.vocabulary import FINDER_KINDS
from tiny import tiny_tokenizer

BADS = (math.nan, math.inf, -math.inf)


def direction(**what):
    return Direction(
        torch.eye(48)[0], Site("resid_pre", 1), -1, **{"norm": 6.0, "mean_harmful": 4.0, "mean_harmless": -2.0, **what}
    )


@pytest.fixture(scope="module")
def model():
    return rhat.load((poisoned(torch.float64), tiny_tokenizer()))


@pytest.mark.parametrize("bad", BADS)
@pytest.mark.parametrize("name", ["norm", "mean_harmful", "mean_harmless"])
def test_a_direction_has_finite_numbers(name, bad, tmp_path):
    with pytest.raises(DirectionError, match=f"got {name} .*expected a finite number"):
        direction(**{name: bad})
    file = direction().save(tmp_path / "r.safetensors")
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        known = opened.metadata()
    fields = json.loads(known["rhat"]) | {name: bad}
    save_file(load_file(file), file, {**known, "rhat": json.dumps(fields)})
    with pytest.raises(DirectionError, match=rf"r\.safetensors: direction: got {name} "):
        Direction.load(file)


@pytest.mark.parametrize("bad", BADS)
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("name", [*(name for name, kind in FINDER_KINDS.items() if not kind.needs), "ccs"])
def test_finders_name_the_rows(name, side, bad):
    rows = [torch.randn(6, 5, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    FINDERS.get(name, fit_ccs)(*rows)
    rows[side][2, 3] = bad
    with pytest.raises(ContrastError, match="not finite"):
        FINDERS.get(name, fit_ccs)(*rows)


def test_what_the_dtype_cannot_hold_is_no_direction():
    """The gap between two finite float16 means may be beyond float16; two sides that are the same have no direction."""
    high = torch.full((3, 4), 6e4, dtype=torch.float16)
    with pytest.raises(ContrastError, match="mean_difference: got a vector that is not finite in float16"):
        mean_difference(high, -high)
    with pytest.raises(ContrastError, match="logistic"):
        FINDERS["logistic"](torch.ones(4, 3), torch.ones(4, 3))
    with pytest.raises(ContrastError, match="random_direction"):
        random_direction(4, 0, torch.zeros(4))


@pytest.mark.parametrize("bad", BADS)
def test_moments_and_means(bad):
    values = torch.randn(5, 2, 3)
    values[1, 0, 2] = bad
    with pytest.raises(ContrastError, match="not finite"):
        Moments.of(values).mean  # noqa: B018
    with pytest.raises(ContrastError, match="not finite"):
        Moments.of(values).variance  # noqa: B018
    fine = torch.zeros(2, 2, 3, dtype=torch.float64)
    with pytest.raises(ContrastError, match="means, harmless"):
        Means((-2, -1), fine, fine + bad, (fine, fine))


@pytest.mark.parametrize("bad", BADS)
def test_gates_and_calibrations(bad, tmp_path):
    r = direction()
    for when in ("above", "below"):
        gate = Conditional(ablate(r), r, 1.0, when)
        assert gate.opens_at([0.0, 2.0]).any()
        with pytest.raises(InterventionError, match="1 of 3 that are not finite"):
            gate.opens_at([0.0, bad, 2.0])
    for sides in (([1.0, bad], [0.0]), ([1.0], [0.0, bad])):
        with pytest.raises(StatisticsError, match="NaN or infinite"):
            from_projections(*sides, 0.1, r, {}, "p")
        with pytest.raises(StatisticsError, match="NaN or infinite"):
            evaluate_projections(0.5, *sides)
    with pytest.raises(StatisticsError, match="NaN or infinite"):
        evaluate_projections(0.5, [1.0], [0.0], [bad])
    with pytest.raises(StatisticsError, match="threshold: got"):
        evaluate_projections(bad, [1.0], [0.0])
    with pytest.raises(StatisticsError, match="fpr"):
        from_projections([1.0], [0.0], bad, r, {}, "p")


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_files_with_numbers_that_are_none(written, tmp_path):
    made = from_projections([1.0, 2.0], [0.0, 0.5], 0.1, direction(), {}, "p").save(tmp_path / "r.guard.json")
    for name in ("threshold", "low", "false_positive_rate"):
        text = "\n".join(
            line.split(":")[0] + f": {written},"
            if f'"{name}": ' in line and line.endswith(",") and "{" not in line
            else line
            for line in made.read_text().splitlines()
        )
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ArtifactError, match=r"bad\.json"):
            Calibration.load(tmp_path / "bad.json")
    (tmp_path / "results.json").write_text(f'{{"schema_version": 1, "n": {written}}}')
    with pytest.raises(ArtifactError, match="not valid JSON"):
        results.read(tmp_path)


def test_a_prompt_that_overflows_has_no_projection(model):
    r = direction()
    assert prompt_projections(model, r, model.tokenize([FINE])).shape == (1,)
    with pytest.raises(NonFiniteError, match="from the embeddings"):
        prompt_projections(model, r, model.tokenize([FINE, BAD]))
    gate = Conditional(ablate(r), r, 0.0, "below")
    with pytest.raises(NonFiniteError):
        gate.per_prompt(model, model.tokenize([BAD]))
    for sides in (([FINE], [BAD]), ([BAD], [FINE])):
        with pytest.raises(NonFiniteError):
            attribute(model, r, *sides)


def test_an_attribution_is_of_numbers():
    fine = torch.zeros(1, 2), torch.zeros(1, 2, 3)
    Attribution(*fine, -1, (0,))
    for i in (0, 1):
        spoilt = [x.clone() for x in fine]
        spoilt[i].view(-1)[0] = torch.nan
        with pytest.raises(ModelError, match=r"heads: .*not finite"):
            Attribution(*spoilt, -1, (0,))
