"""A script for TransformerLens: forward hooks that do what the intervention does, with the vector in a file beside it."""

from __future__ import annotations

from pathlib import Path

from rhat.errors import InterventionError
from rhat.sites import Site
from rhat.vectors.format import Format, Steering
from rhat.vectors.snippets import no_such_file, snippet_runner, write_snippet
from rhat.vocabulary import OPERATORS

TEMPLATE = '''"""{title}, as TransformerLens hooks: written by rhat.

    logits = model.run_with_hooks(tokens, fwd_hooks=HOOKS)

Load the model without processing (HookedTransformer.from_pretrained_no_processing, or TransformerBridge): folding and
centring change the residual stream that r̂ is a vector of.
"""

{imports}from pathlib import Path

from safetensors.torch import load_file

DIRECTION = load_file(Path(__file__).with_suffix(".safetensors"))["direction"]  # r̂, length 1
VALUE = {value!r}


def edit(x):
    r = DIRECTION.to(x.device, x.dtype)
    return {formula}


def hook_fn(x, hook):
    return edit(x)


NAMES = {names!r}
HOOKS = [(name, hook_fn) for name in NAMES]
'''


def name_of(site: Site) -> str:
    """What TransformerLens calls a site: `blocks.12.hook_resid_pre` is the input of block 12.

    Raises:
        InterventionError: if it has no name for it.
    """
    if site.kind == "other_out":
        raise InterventionError(f"{site}: TransformerLens has no name for it; use nnsight or lm-eval")
    return f"blocks.{site.layer}.hook_{site.kind}"


def site_of(name: str) -> Site:
    """The site of such a name."""
    _, layer, kind = name.split(".")
    return Site(kind.removeprefix("hook_"), int(layer))  # type: ignore[arg-type]


def write(steering: Steering, path: Path) -> list[Path]:
    """The script, and r̂ beside it."""
    names = [name_of(site) for site in steering.sites]
    return write_snippet(steering, path, TEMPLATE, names=names)


FORMAT = Format(
    "transformer-lens",
    tools="TransformerLens, `run_with_hooks(fwd_hooks=HOOKS)`",
    says="every operator, at one layer or all, as a script `FILE.py` that defines HOOKS",
    lacks="the script's hooks see activations and not which tokens are prompt or answer",
    matches=no_such_file,
    operators=tuple(OPERATORS),
    suffix=".py",
    write=write,
    run=snippet_runner(lambda script: [site_of(name) for name in script["NAMES"]]),
    modelled=True,
)
