"""Opening: what A and B may be besides the models that rhat loads, a folder with a PEFT adapter."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rhat.errors import ModelError

CONFIG = "adapter_config.json"


def resolved(name: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A model's name and the arguments of `rhat.load`; a PEFT adapter's folder becomes its base model with that adapter.

    Raises:
        ModelError: if it is such a folder and peft is not installed, it names no base model, or another adapter is given as well.
    """
    folder = Path(name).expanduser()
    if not (folder / CONFIG).is_file() or (folder / "config.json").is_file():
        return name, dict(settings)
    if settings.get("adapter") is not None:
        raise ModelError(
            f"{name}: is an adapter itself, and {settings['adapter']} is another; give the base model and one of them"
        )
    if importlib.util.find_spec("peft") is None:
        raise ModelError(
            f"{name}: an adapter, and adapters need the peft package; install it with pip install 'rhat[peft]'"
        )
    try:
        base = json.loads((folder / CONFIG).read_text("utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{name}: its {CONFIG} cannot be read ({error}); give the base model, and --adapter"
        ) from error
    if not base:
        raise ModelError(f"{name}: its {CONFIG} names no base model; give the base model, and --adapter")
    return str(base), {**settings, "adapter": str(folder)}
