"""GGUF control vectors: tensors `direction.N`, each added to the output of block N.

N counts as blocks do, from 0, and llama.cpp begins at 1: it writes `direction.N` to slot N - 1 of a buffer whose slot for
block k is k - 1. So `direction.N` is resid_pre.N+1, and the inputs of blocks 0 and 1 are out of its reach. repeng and
EasySteer count alike, and have `direction.0`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rhat.errors import DirectionError, InterventionError
from rhat.model.chat import ChatModel
from rhat.model.tap import hooked
from rhat.sites import Site
from rhat.vectors.choosing import site_of
from rhat.vectors.format import Format, Given, Steering, Wanted

ARCHITECTURE = "controlvector"
FIRST = 2  # the first block whose input llama.cpp can change
MAGIC = b"GGUF"


def matches(path: Path) -> bool:
    """Whether it is a GGUF file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def vectors_of(path: Path) -> dict[int, Tensor]:
    """N → the tensor `direction.N`, float32.

    Raises:
        DirectionError: if it is no control vector.
    """
    import gguf

    try:
        reader = gguf.GGUFReader(path)
        found: dict[int, Tensor] = {}
        for tensor in reader.tensors:
            head, _, number = tensor.name.partition(".")
            if head == "direction" and number.isdecimal():
                data = np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
                found[int(number)] = torch.from_numpy(data.astype(np.float32)).reshape(-1)
    except Exception as error:
        raise DirectionError(f"{path}: cannot be read as GGUF ({' '.join(str(error).split())[:160]})") from error
    if not found:
        raise DirectionError(f"{path}: has no tensors direction.1, direction.2, …; it is no control vector (a model?)")
    return found


def read(path: Path, wanted: Wanted) -> Given:
    """One layer's vector, with its length: what is added where it is used at strength 1.

    Raises:
        DirectionError: if it is no control vector, or has several layers and none is wanted.
    """
    sites = {Site("resid_pre", number + 1): vector for number, vector in vectors_of(path).items()}
    site = site_of(path, sites, wanted)
    return Given(sites[site], site)


def write(steering: Steering, path: Path) -> list[Path]:
    """The vector c r̂ as `direction.N`, for use at strength 1.

    Raises:
        InterventionError: if it is added where llama.cpp adds nothing.
    """
    import gguf

    doing = steering.doing
    if doing.where != "own layer" or doing.layer < FIRST:
        raise InterventionError(
            f"add at {steering.place}: gguf files cannot say that: llama.cpp adds after a block, from the second on; expected one "
            f"layer from {FIRST}"
        )
    out = gguf.GGUFWriter(str(path), ARCHITECTURE)
    out.add_string(f"{ARCHITECTURE}.model_hint", str(_hint(steering)))
    out.add_uint32(f"{ARCHITECTURE}.layer_count", 1)
    out.add_tensor(f"direction.{doing.layer - 1}", (steering.value * doing.unit.double()).float().cpu().numpy())
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return [path]


def _hint(steering: Steering) -> Any:
    if steering.model is not None:
        return steering.model.text_config.model_type
    return steering.direction.model.get("architecture", "")


@contextmanager
def run(path: Path, model: ChatModel) -> Iterator[None]:
    """Each vector added to its block's output, from block 1 on, as llama.cpp does at strength 1."""
    blocks = model.layout.blocks_name
    adding = {
        f"{blocks}.{number}": (lambda x, v=vector: x + v.to(x.device, x.dtype))
        for number, vector in vectors_of(path).items()
        if number >= 1
    }
    with hooked(model.hf, adding):
        yield


FORMAT = Format(
    "gguf",
    tools="llama.cpp (`--control-vector`), repeng, EasySteer",
    holds="`direction.N` is resid_pre.N+1; of several layers one by `--site`",
    says="`add` and `subtract` at one layer from resid_pre.2 on, as c r̂ at strength 1",
    lacks="a control vector is added to the output of a block from block 1 on, at every token",
    matches=matches,
    read=read,
    operators=("add",),
    suffix=".gguf",
    write=write,
    run=run,
)
