import pytest
import torch

from rhat.directions import Direction
from rhat.errors import DirectionError, SiteError
from rhat.sites import Site


def direction():
    return Direction(
        torch.tensor([0.6, 0.8]),
        Site("resid_pre", 3),
        -2,
        4.5,
        6.25,
        -0.5,
        "lat",
        {"name": "m", "n": 3},
        "abc",
        {"k": [1]},
    )


def test_saving_goes_round(tmp_path):
    d = direction()
    d.save(tmp_path / "sub" / "r.safetensors")
    again = Direction.load(tmp_path / "sub" / "r.safetensors")
    torch.testing.assert_close(again.unit, d.unit, atol=0, rtol=0)
    for name in ("site", "position", "norm", "mean_harmful", "mean_harmless", "method", "model", "prompts", "extra"):
        assert getattr(again, name) == getattr(d, name), name
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["r.safetensors"]


def test_projection_is_a_dot_product_in_float64():
    got = direction().project(torch.tensor([[1.0, 2.0], [0.0, -1.0]], dtype=torch.bfloat16))
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, torch.tensor([2.2, -0.8], dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("unit", [torch.ones(3), torch.tensor([float("nan"), 1.0])])
def test_only_finite_unit_vectors(unit):
    with pytest.raises(DirectionError, match="expected"):
        Direction(unit, Site("resid_pre", 0), -1, 1, 1, 0)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_files_that_are_none_are_refused(tmp_path, content):
    path = tmp_path / "r.safetensors"
    with pytest.raises(DirectionError, match="no such file; make one with"):
        Direction.load(path)
    path.write_bytes(content)
    with pytest.raises(DirectionError, match="cannot be read as a direction"):
        Direction.load(path)


def test_another_safetensors_file_is_not_a_direction(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(DirectionError, match="not a direction written by rhat"):
        Direction.load(tmp_path / "x.safetensors")


def test_sites_are_parsed_and_printed_alike():
    assert str(Site.parse("head_out.11")) == "head_out.11"
    for wrong in ("resid_pre", "resid_pre.-1", "resid.3", "resid_pre.x", ""):
        with pytest.raises(SiteError, match=r"expected KIND\.LAYER"):
            Site.parse(wrong)
    with pytest.raises(SiteError, match=r"resid_pre\.32: this model has layers 0 to 23; the last is resid_pre\.23"):
        Site("resid_pre", 32).within(24)
