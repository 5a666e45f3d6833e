"""Which vector of a file is meant: a tensor by its key, a row of a matrix, a layer of several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rhat.errors import DirectionError
from rhat.sites import Site
from rhat.vectors.format import Wanted

SHOWN = 8  # names in an error message


def listed(names: Any) -> str:
    """The first few of some names."""
    some = [str(name) for name in names]
    return ", ".join(some[:SHOWN]) + (f", … ({len(some)} in all)" if len(some) > SHOWN else "")


def tensor_of(path: Path, tensors: Mapping[str, Any], wanted: Wanted) -> Tensor:
    """The one vector that is wanted of named tensors.

    Raises:
        DirectionError: if there are several and no key, no such key, or a matrix and no row.
    """
    if wanted.key is not None and wanted.key not in tensors:
        raise DirectionError(f"{path}: no tensor {wanted.key!r}; give --key as one of {listed(tensors)}")
    if wanted.key is None and len(tensors) != 1:
        raise DirectionError(
            f"{path}: got {len(tensors)} tensors, expected one; give --key as one of {listed(tensors)}"
        )
    name = next(iter(tensors)) if wanted.key is None else wanted.key
    return vector_of(path, torch.as_tensor(tensors[name]), wanted)


def vector_of(path: Path, tensor: Tensor, wanted: Wanted) -> Tensor:
    """The tensor itself if it is a vector, else the row that is wanted; a column where only those are as wide as the model.

    Raises:
        DirectionError: if it is neither, or there is no such row.
    """
    squeezed = tensor.squeeze()
    if squeezed.ndim == 1 and wanted.row is None:
        return squeezed
    if tensor.ndim != 2 or wanted.row is None:
        raise DirectionError(f"{path}: got shape {tuple(tensor.shape)}, expected a vector, or a matrix and --row")
    if tensor.shape[0] == wanted.width != tensor.shape[1]:
        tensor = tensor.T
    if not 0 <= wanted.row < len(tensor):
        raise DirectionError(f"{path}: no row {wanted.row}; its rows are 0 to {len(tensor) - 1}")
    return tensor[wanted.row]


def site_of(path: Path, sites: Mapping[Site, Any], wanted: Wanted) -> Site:
    """The site that is wanted of those that a file has vectors for, as block inputs; the only one unasked.

    Raises:
        DirectionError: if there are several and none is wanted, or not that one.
    """
    if wanted.site is not None:
        w = wanted.site
        site = Site("resid_pre", w.layer + 1) if w.kind == "resid_post" else w
        if site not in sites:
            raise DirectionError(f"{path}: has nothing at {site}; give --site as one of {listed(sorted(sites))}")
        return site
    if len(sites) != 1:
        raise DirectionError(
            f"{path}: got vectors at {len(sites)} sites, expected one; give --site as one of {listed(sorted(sites))}"
        )
    return next(iter(sites))


def site_given(path: Path, wanted: Wanted) -> Site:
    """The site, for a file that says none.

    Raises:
        DirectionError: if none was given.
    """
    if wanted.site is None:
        raise DirectionError(
            f"{path}: does not say at which layer its vector belongs; give --site, such as resid_pre.12 for the input of "
            "block 12, or resid_post.12 for its output"
        )
    return wanted.site
