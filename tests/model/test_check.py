"""`rhat check` proves what is right, names what is lacking, and fails on a layout that is wrong."""

from dataclasses import replace

import pytest
import torch

from rhat.model.check import check
from rhat.sites import Site
from tiny import FAMILIES, tiny_chat_model

LAWS = (
    "resid_post is the next block's resid_pre",
    "block parts add up to the residual stream",
    "heads add up to the attention projection",
    "left padding changes nothing",
    "fast path",
)


def outcomes(report):
    return {(row["check"], row["outcome"]) for row in report.rows()}


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt-neox", "falcon-h1", "jamba", "recurrent-gemma"])
def test_what_a_family_lacks_is_named_with_the_reason(family):
    report = check(tiny_chat_model(family))
    lacks = {Site(kind, layer) for kind, layers in FAMILIES[family].lacks.items() for layer in layers}
    assert report.ok, report.rows()
    assert set(report.absent) == lacks
    for kind, layers in FAMILIES[family].lacks.items():
        [row] = [r for r in report.rows() if r["check"] == kind and r["outcome"] == "absent"]
        assert row["measured"].startswith(("no output projection of attention heads", "no parts add up"))
        assert all(str(layer) in row["where"] or "–" in row["where"] for layer in layers)
    assert {row["check"] for row in report.rows()} >= set(LAWS)
    assert report.fast == (FAMILIES[family].mask is not None)
    assert bool(report.reason) != report.fast
    assert ("left padding changes nothing", "ok" if FAMILIES[family].pads else "absent") in outcomes(report)


def wrong(model, **changes):
    """The model with something in its first block's layout changed."""
    first, *others = model.layout.parts
    return replace(model, layout=replace(model.layout, parts=(replace(first, **changes), *others)))


def test_a_part_before_its_norm_does_not_add_up():
    model = tiny_chat_model("gemma2")
    broken = wrong(model, attn_out=model.layout.parts[0].attention)
    assert ("block parts add up to the residual stream", "failed") in outcomes(check(broken))
    assert not check(broken).ok


def test_a_wrong_scale_does_not_add_up():
    model = tiny_chat_model("granite")
    broken = wrong(model, scales=(1.0, 1.0, 1.0))
    assert ("block parts add up to the residual stream", "failed") in outcomes(check(broken))


def test_a_module_that_is_not_run_is_no_site():
    model = tiny_chat_model("llama")
    broken = wrong(model, mlp_out=torch.nn.Linear(48, 48))
    failed = [row for row in check(broken).rows() if row["outcome"] == "failed"]
    assert "mlp_out.0 has shape None" in next(row["measured"] for row in failed if row["check"] == "mlp_out")
    assert "editing mlp_out.0 does not move the logits" in next(
        r["measured"] for r in failed if r["check"] == "mlp_out"
    )
