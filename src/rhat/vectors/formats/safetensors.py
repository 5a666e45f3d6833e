"""Safetensors of any layout, and a JSON card beside the file that says what to do with the vector."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rhat.artifacts.tensors import FORMAT as OWN
from rhat.directions import Direction
from rhat.errors import DirectionError
from rhat.interventions import intervene
from rhat.model.chat import ChatModel
from rhat.sites import Site
from rhat.vectors.choosing import site_given, tensor_of
from rhat.vectors.format import Format, Given, Steering, Wanted
from rhat.vocabulary import OPERATORS

KEY = "direction"


def metadata_of(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty if it is none."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def matches(path: Path) -> bool:
    """Whether it is a safetensors file that rhat's own format does not claim."""
    return path.suffix == ".safetensors" and path.is_file() and metadata_of(path).get("format") != OWN


def read(path: Path, wanted: Wanted) -> Given:
    """The tensor that is wanted; site and position from the card beside the file, if there is one.

    Raises:
        DirectionError: if it cannot be read, or what is wanted is not clear.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        raw = tensor_of(path, load_file(path), wanted)
    except (SafetensorError, OSError) as error:
        raise DirectionError(f"{path}: cannot be read as safetensors ({error})") from error
    card = _card(path)
    if wanted.site is None and "site" in card:
        means = (card.get("mean_harmful"), card.get("mean_harmless"))
        position = card.get("position")
        return Given(
            raw, Site.parse(card["site"]), position, *means, card.get("method", "given"), card.get("model", {})
        )
    return Given(raw, site_given(path, wanted))


def _card(path: Path) -> dict[str, Any]:
    card = path.with_suffix(".json")
    try:
        said = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def write(steering: Steering, path: Path) -> list[Path]:
    """r̂ as the tensor `direction`, and what is done with it as JSON."""
    from safetensors.torch import save_file

    doing, r = steering.doing, steering.direction
    save_file({KEY: doing.unit.float().cpu().contiguous()}, path)
    card = {
        **r.describe(),
        "site": f"resid_pre.{doing.layer}",
        "layer": doing.layer,
        "tensor": KEY,
        "length": 1.0,
        "operator": doing.op,
        "formula": OPERATORS[doing.op].formula,
        "value": doing.value,
        "where": doing.where,
        "scope": str(doing.scope),
        "model": dict(r.model),
        "conventions": "resid_pre.k is the input of block k, the output of block k - 1; layers count from 0, positions from "
        "the end of the prompt",
    }
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [path, beside]


@contextmanager
def run(path: Path, model: ChatModel) -> Iterator[None]:
    """What the card says, done by rhat with what the two files hold."""
    given, card = read(path, Wanted()), _card(path)
    r: Direction = given.direction()
    value = card["value"] if OPERATORS[card["operator"]].parameter is not None else None
    where: Any = card["where"] if isinstance(card["where"], str) else tuple(card["where"])
    with intervene(card["operator"], r, value=value, where=where, scope=card["scope"]).on(model):
        yield


FORMAT = Format(
    "safetensors",
    tools="anything that reads safetensors",
    holds="a tensor by `--key`, or a row of a matrix by `--row`, at `--site`; a card `FILE.json` that names the site is read",
    says="r̂ as the tensor `direction`, and a card `FILE.json`: site, operator, value, means, model",
    lacks="the card is for people and scripts; it has one vector and every token",
    matches=matches,
    read=read,
    operators=tuple(OPERATORS),
    suffix=".safetensors",
    write=write,
    run=run,
)
