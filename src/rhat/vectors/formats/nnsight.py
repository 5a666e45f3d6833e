"""A script for nnsight: a function that edits the model's modules inside a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rhat.errors import InterventionError
from rhat.sites import Site
from rhat.vectors.format import Format, Steering
from rhat.vectors.snippets import no_such_file, snippet_runner, write_snippet
from rhat.vocabulary import OPERATORS

TEMPLATE = '''"""{title}, for nnsight: written by rhat.

    with model.trace(prompt):
        steer(model)
        logits = model.lm_head.output.save()
"""

{imports}from pathlib import Path

from safetensors.torch import load_file

DIRECTION = load_file(Path(__file__).with_suffix(".safetensors"))["direction"]  # r̂, length 1
VALUE = {value!r}


def edit(x):
    r = DIRECTION.to(x.device, x.dtype)
    return {formula}


SITES = {sites!r}  # (module, "input" or "output"), in the order of the forward pass


def steer(model):
    for name, side in SITES:
        module = model.get(name)
        if side == "input":
            module.input = edit(module.input)
        elif isinstance(module.output, tuple):
            module.output = (edit(module.output[0]), *module.output[1:])
        else:
            module.output = edit(module.output)
'''


def write(steering: Steering, path: Path) -> list[Path]:
    """The script, and r̂ beside it.

    Raises:
        InterventionError: if the model has no module for a site.
    """
    return write_snippet(steering, path, TEMPLATE, sites=[_side(steering, s) for s in steering.sites])


def _side(steering: Steering, site: Site) -> tuple[str, str]:
    assert steering.model is not None
    hf, parts = steering.model.hf, steering.model.layout.parts[site.layer]
    names = {id(module): name for name, module in hf.named_modules()}
    module = parts.module(site.kind)
    if module is None:
        raise InterventionError(f"{site}: {steering.model.name} has no such part, so nnsight cannot steer there")
    return names[id(module)], "input" if site.kind == "resid_pre" else "output"


def _sites(script: dict[str, Any]) -> list[Any]:
    sites: list[Any] = script["SITES"]
    return sites


FORMAT = Format(
    "nnsight",
    tools="nnsight, inside `model.trace`",
    says="every operator, at one layer or all, as a script `FILE.py` that defines steer(model)",
    lacks="the script sees activations and not which tokens are prompt or answer",
    matches=no_such_file,
    operators=tuple(OPERATORS),
    suffix=".py",
    write=write,
    run=snippet_runner(_sites),
    modelled=True,
)
