"""Files of the steering-vectors library: a vector for each layer, added to that block's output.

Its layer k is the output of block k, which is the input of block k + 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from rhat.errors import DirectionError
from rhat.sites import Site
from rhat.vectors.choosing import site_of, vector_of
from rhat.vectors.format import Format, Given, Wanted
from rhat.vectors.pickles import SteeringVector, is_pickle, unpickled

BLOCK = "decoder_block"


def _layers(held: Any) -> tuple[dict[int, Tensor], str] | None:
    """Layer → vector, and the type of layer; None if it is not such a file."""
    if isinstance(held, SteeringVector):
        return held.layer_activations, held.layer_type
    if isinstance(held, Mapping) and isinstance(held.get("layer_activations"), Mapping):
        return dict(held["layer_activations"]), str(held.get("layer_type", BLOCK))
    if (
        isinstance(held, Mapping)
        and held
        and all(isinstance(k, int) and isinstance(v, Tensor) for k, v in held.items())
    ):
        return dict(held), BLOCK
    return None


def matches(path: Path) -> bool:
    """Whether it is a pickle of a SteeringVector, or of its layers."""
    return is_pickle(path) and _layers(unpickled(path)) is not None


def read(path: Path, wanted: Wanted) -> Given:
    """The vector of one layer.

    Raises:
        DirectionError: if it is not such a file, or of a part other than whole blocks.
    """
    found = _layers(unpickled(path))
    if found is None:
        raise DirectionError(
            f"{path}: expected a SteeringVector of steering-vectors, or a dictionary of layer and tensor"
        )
    layers, kind = found
    if kind != BLOCK:
        raise DirectionError(
            f"{path}: its vectors are for {kind!r}, expected {BLOCK!r}: only these are of the residual stream"
        )
    sites = {Site("resid_pre", layer + 1): vector for layer, vector in layers.items()}
    site = site_of(path, sites, wanted)
    return Given(vector_of(path, sites[site], wanted), site)


FORMAT = Format(
    "steering-vectors",
    tools="steering-vectors; any `{layer: tensor}` saved with torch.save, layer k the output of block k",
    holds="a pickled SteeringVector or its `layer_activations`; of several layers one by `--site`",
    lacks="give such tools a safetensors file",
    matches=matches,
    read=read,
)
