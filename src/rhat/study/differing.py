"""What differs between the study that a folder holds and the one that is asked for, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ABSENT = "none"


def differing(marker: Path, settings: Mapping[str, Any]) -> str:
    """The settings that differ from those in a folder's `study.json`, as "seed: 0 there, 1 asked for; …"; what else may where none does."""
    try:
        held = json.loads(marker.read_text(encoding="utf-8"))["settings"]
        items = {name: (held.get(name), settings.get(name)) for name in dict.fromkeys([*held, *settings])}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return "its settings cannot be read"
    plain = json.loads(json.dumps(items))  # lists for tuples, as the file holds them
    said = [
        f"{name}: {_told(there)} there, {_told(asked)} asked for"
        for name, (there, asked) in plain.items()
        if there != asked
    ]
    return "; ".join(said) or "the same settings, but other weights, prompts or another version of rhat"


def _told(value: Any) -> str:
    if value in (None, "", [], {}):
        return ABSENT
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
