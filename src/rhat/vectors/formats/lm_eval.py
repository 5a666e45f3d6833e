"""lm-evaluation-harness' `steered` model: modules by name, and for each a vector to add, or to clamp the projection on.

A hookpoint is the output of a module, named as `model.base_model.named_modules()` names it: `layers.11` is the output of
block 11, so resid_pre.12. `clamp` sets the projection on the vector, divided by its length, to the coefficient.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rhat.capture import activations
from rhat.errors import DirectionError, InterventionError
from rhat.model.chat import ChatModel
from rhat.model.tap import hooked
from rhat.sites import Site
from rhat.vectors.choosing import listed, site_of, vector_of
from rhat.vectors.format import Format, Given, Steering, Wanted
from rhat.vectors.pickles import is_pickle, unpickled

BLOCK = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block)\.(\d+)$")
COLUMNS = ("sparse_model", "hookpoint", "feature_index")
EMBEDDING_TOLERANCE = 0.01  # relative; above it the first block's input is more than a multiple of the embedding


def _is_config(held: Any) -> bool:
    return (
        isinstance(held, Mapping)
        and bool(held)
        and all(isinstance(v, Mapping) and "steering_vector" in v for v in held.values())
    )


def matches(path: Path) -> bool:
    """Whether it is a pickled steer configuration, or the table of sparse features."""
    if path.suffix == ".csv" and path.is_file():
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            head = file.readline()
        return all(column in head for column in COLUMNS)
    return is_pickle(path) and _is_config(unpickled(path))


def read(path: Path, wanted: Wanted) -> Given:
    """The vector at one hookpoint; action and coefficient are kept in `extra`.

    Raises:
        DirectionError: if it cannot be read, several are there and none is wanted, or a hookpoint is not a block.
    """
    config = _table(path, wanted) if path.suffix == ".csv" else unpickled(path)
    if not _is_config(config):
        raise DirectionError(
            f"{path}: expected a dictionary of hookpoint → {{steering_vector, steering_coefficient, action}}"
        )
    blocks = {point: found for point in config if (found := BLOCK.search(point))}
    sites = {Site("resid_pre", int(found[1]) + 1): config[point] for point, found in blocks.items()}
    if not sites:
        raise DirectionError(
            f"{path}: hooks {listed(config)}, none of them a whole block such as layers.11, so none is of the residual stream"
        )
    site = site_of(path, sites, wanted)
    one = sites[site]
    if one.get("head_index") is not None:
        raise DirectionError(
            f"{path}: the vector at {site} is for head {one['head_index']}, not for the residual stream"
        )
    raw = vector_of(path, one["steering_vector"], Wanted())
    extra = {"action": one.get("action", "add"), "steering_coefficient": float(one.get("steering_coefficient", 1.0))}
    if one.get("bias") is not None:  # clamp sets the projection of x − bias: to rhat a target that much higher
        unit = raw.double() / raw.double().norm()
        extra["bias_projection"] = float(unit @ one["bias"].double())
    return Given(raw, site, extra=extra)


def _table(path: Path, wanted: Wanted) -> dict[str, Any]:
    """The configuration that a table of sparse features stands for, from decoders that are on this machine."""
    import pandas as pd
    from safetensors.torch import load_file

    config: dict[str, Any] = {}
    for row in pd.read_csv(path).to_dict("records"):
        point = str(row["hookpoint"])
        files = [
            Path(str(row["sparse_model"])) / point / "sae.safetensors",
            Path(str(row["sparse_model"])) / "sae_weights.safetensors",
        ]
        file = next((f if f.is_absolute() else path.parent / f for f in files if (path.parent / f).is_file()), None)
        if file is None:
            raise DirectionError(
                f"{path}: the decoder of {row['sparse_model']} is not on this machine; fetch it, then give its file with "
                f"--key W_dec --row {row['feature_index']} --site"
            )
        weights = load_file(file)
        chosen = Wanted(row=int(row["feature_index"]), width=wanted.width)
        config[point] = {
            "steering_vector": vector_of(file, weights["W_dec"], chosen),
            "steering_coefficient": float(row.get("steering_coefficient", 1.0)),
            "action": row.get("action", "add"),
            "bias": weights.get("b_dec") if row.get("action") == "clamp" else None,
        }
    return config


def write(steering: Steering, path: Path) -> list[Path]:
    """One entry for each site of the intervention, in float32: lm-eval casts them to the model's precision.

    Raises:
        InterventionError: if it acts where this model has no module whose output is the site.
    """
    assert steering.model is not None
    model, doing = steering.model, steering.doing
    config: dict[str, Any] = {}
    for site in steering.sites:
        point, factor = hookpoint(model, site)
        config[point] = {
            "steering_vector": doing.unit.float().cpu().clone(),
            "steering_coefficient": 0.0 if doing.op == "ablate" else steering.value / factor,
            "action": "add" if steering.op == "add" else "clamp",
            "bias": None,
            "head_index": None,
        }
    torch.save(config, path)
    return [path]


def hookpoint(model: ChatModel, site: Site) -> tuple[str, float]:
    """The module whose output is the site, and which multiple of that output the site is.

    Raises:
        InterventionError: if there is none.
    """
    layout = model.layout
    names = {id(module): name for name, module in model.hf.base_model.named_modules()}
    if site.kind == "resid_pre" and site.layer == 0:
        module, factor = _embedding(model)
    elif site.kind == "resid_pre":
        module, factor = layout.parts[site.layer - 1].block, 1.0
    else:
        parts = layout.parts[site.layer]
        module, factor = parts.module(site.kind), parts.scale(site.kind)
    if module is None or id(module) not in names:
        raise InterventionError(f"{site}: {model.name} has no module whose output it is, so lm-eval cannot steer there")
    return names[id(module)], factor


def _embedding(model: ChatModel) -> tuple[Any, float]:
    """The embedding, if the first block's input is a multiple of its output, and that multiple."""
    module: Any = model.hf.get_input_embeddings()
    prompt = "Name a river."
    (ids,) = model.tokenize([prompt])
    k = min(model.template_length, len(ids))
    with torch.no_grad():
        given = module(torch.tensor([ids[-k:]], device=model.device))[0].double().cpu()
    seen = activations(model, [prompt], "resid_pre.0", range(-k, 0))[0, 0].double()
    if given.shape != seen.shape:  # a projection stands between them
        return None, 1.0
    factor = float((seen * given).sum() / (given * given).sum())
    if float((seen - factor * given).norm()) > EMBEDDING_TOLERANCE * float(seen.norm()):
        return None, 1.0
    return module, 1.0 if abs(factor - 1) < EMBEDDING_TOLERANCE else factor


@contextmanager
def run(path: Path, model: ChatModel) -> Iterator[None]:
    """`add` and `clamp` as lm-eval documents them, at the hookpoints of the file."""
    functions = {point: _function(one) for point, one in unpickled(path).items()}
    with hooked(model.hf.base_model, functions):
        yield


def _function(one: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor) -> Tensor:
        v: Tensor = one["steering_vector"].to(x.device, x.dtype)
        c: float = one["steering_coefficient"]
        if one["action"] == "add":
            return x + c * v
        v = v / v.norm()
        return x + (c - (x * v).sum(-1, keepdim=True)) * v

    return function


FORMAT = Format(
    "lm-eval",
    tools="lm-evaluation-harness, `--model steered`",
    holds="`.pt` by hookpoint: `layers.N` is resid_pre.N+1, of several one by `--site`; `.csv` of sparse features whose decoder "
    "is on this machine",
    says="`add`, `subtract`; `set_projection` as clamp; `ablate` as clamps to 0 at every module that writes",
    lacks="a steer file adds to, or clamps, the outputs of modules at every token",
    matches=matches,
    read=read,
    operators=("add", "set_projection", "ablate"),
    suffix=".pt",
    write=write,
    run=run,
    modelled=True,
)
