"""`--alpha`: the number of an operator by the direction's two means, or one line that says why not."""

import json

import pytest

from rhat.directions import Direction
from rhat.vocabulary import OPERATORS


@pytest.mark.parametrize(
    ("op", "alpha", "number"),
    [
        ("set_projection", "0", ("target", -2.0)),
        ("set_projection", "1", ("target", 4.0)),
        ("raise_projection", "0.5", ("target", 1.0)),
        ("cap_projection", "-0.5", ("ceiling", -5.0)),
        ("add", "0.25", ("coefficient", 1.5)),
        ("add_keeping_norm", "1", ("coefficient", 6.0)),
    ],
)
def test_it_is_read_by_the_means(cli, folder, direction, op, alpha, number):
    options = ("--op", op, "--max-new-tokens", 3, "--format", "json", "Sing.")
    (said,) = json.loads(cli("steer", "-m", folder, "-d", direction, "--alpha", alpha, *options).out)
    name, value = number
    assert said["intervention"][name] == pytest.approx(value)
    (same,) = json.loads(cli("steer", "-m", folder, "-d", direction, "--value", value, *options).out)
    assert same == said


@pytest.mark.parametrize("op", OPERATORS)
def test_operators_that_are_not_read_by_the_means_say_so_and_both_numbers_are_one_too_many(
    refused, folder, direction, op
):
    parameter = OPERATORS[op].parameter
    if parameter is not None and parameter.by_means:
        line = refused("steer", "-m", folder, "-d", direction, "--op", op, "--alpha", 1, "--value", 2, "Sing.")
        assert "expected one of them" in line
    else:
        line = refused("steer", "-m", folder, "-d", direction, "--op", op, "--alpha", 1, "Sing.")
        assert "leave α out" in line


def test_a_direction_without_means_is_rejected_before_a_model_is_loaded(refused, tmp_path, direction):
    bare = Direction.of(Direction.load(direction).unit, site="resid_pre.1").save(tmp_path / "bare.safetensors")
    for command in (("steer", "-m", "nowhere", "-d", bare, "--op", "set_projection", "--alpha", 0.5, "Sing."),):
        assert "mean projection of harmful prompts is unknown; measure it" in refused(*command)
    line = refused("export", bare, "--to", "safetensors", "--op", "add", "--alpha", 0.5, "-m", "nowhere")
    assert "is unknown; measure it" in line


def test_files_for_other_tools_take_it_and_say_what_they_cannot(cli, refused, tmp_path, direction):
    file = tmp_path / "card.safetensors"
    done = cli("export", direction, "--to", "safetensors", "--op", "set_projection", "--alpha", 0.5, "--out", file)
    assert done.code == 0
    assert json.loads(file.with_suffix(".json").read_text())["value"] == pytest.approx(1.0)
    for tool, what in (("gguf", "a control vector is added"), ("lm-eval", "adds to, or clamps")):
        for op in ("raise_projection", "cap_projection", "add_keeping_norm", "rotate", "set_angle", "ablate_partially"):
            line = refused("export", direction, "--to", tool, "--op", op)
            assert f"{op}: {tool} files cannot say that" in line
            assert what in line
