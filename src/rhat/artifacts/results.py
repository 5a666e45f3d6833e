"""The results contract: `results.json`, checked against its JSON Schema whenever it is written or read.

docs/results.md documents every field. A field that a run did not compute is absent, never null.
"""

import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from rhat.errors import ArtifactError

SCHEMA_VERSION = 2
FILE_NAME = "results.json"
FREE_FORM = "manifest"  # the one key under which null is allowed


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `results.json`."""
    text = resources.files("rhat.artifacts").joinpath("results.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def check(results: Mapping[str, Any]) -> dict[str, Any]:
    """`results` as plain JSON values, if they keep the contract.

    Tuples become lists and NumPy scalars Python numbers.

    Raises:
        ArtifactError: with the path of the first field at fault, what it is, and what was expected.
    """
    plain: dict[str, Any] = _plain(results, ())
    _validate(plain, FILE_NAME)
    return plain


def write(results: Mapping[str, Any], folder: Path | str) -> Path:
    """Write `results` to `folder`/results.json, whole or not at all; `folder` is made if need be.

    Raises:
        ArtifactError: if they break the contract (nothing is written) or the disk refuses.
    """
    text = json.dumps(check(results), ensure_ascii=False, allow_nan=False, indent=1)
    path = Path(folder) / FILE_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, text + "\n")
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or give another folder"
        ) from error
    return path


def read(source: Path | str) -> dict[str, Any]:
    """The results in a study's folder, or in the file itself; those of version 1 are told as version 2 tells them.

    Raises:
        ArtifactError: if the file is missing, not JSON, of an unknown schema version, or breaks the contract.
    """
    path = Path(source)
    if path.is_dir():
        path = path / FILE_NAME
    try:
        found = json.loads(path.read_text("utf-8"), parse_constant=no_constant, parse_float=finite_number)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path}: no such file; give the folder of a finished `rhat study`, or its {FILE_NAME}"
        ) from error
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise ArtifactError(
            f"{path}: not valid JSON ({error}); it was damaged or is another file, so run the study again"
        ) from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{path}: expected a JSON object of results, got {_kind(found)}")
    version = found.get("schema_version")
    if version == 1 and not isinstance(version, bool):
        return upgraded(found, str(path))
    if isinstance(version, bool) or version != SCHEMA_VERSION:
        got = "no schema_version" if version is None else f"schema_version {version!r}"
        raise ArtifactError(
            f"{path}: expected schema_version {SCHEMA_VERSION}, got {got}; "
            "use the version of rhat that wrote it, or run the study again"
        )
    _validate(found, str(path))
    return found


def upgraded(found: Mapping[str, Any], where: str = FILE_NAME) -> dict[str, Any]:
    """Results of version 1 as version 2 tells them.

    Raises:
        ArtifactError: if a row lacks what it needs for that, or they then break the contract.
    """
    from rhat.artifacts.upgrade import upgrade

    try:
        results = upgrade(found)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{where}: broken results of version 1 ({error}); run the study again") from error
    _validate(results, where)
    return results


def replace_text(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader sees the old file or the new one, never a part of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp gives 0600, but results are there to be read
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _validate(results: dict[str, Any], where: str) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(schema()).iter_errors(results))
    if error is not None:
        raise ArtifactError(f"{where}: {_path(error.absolute_path)}: {_expectation(error)}; see docs/results.md")


def _expectation(error: Any) -> str:
    """One `jsonschema` error as "expected …, got …"."""
    rule, limit, value = error.validator, error.validator_value, error.instance
    if rule == "required":
        missing = [name for name in limit if name not in value]
        return f"expected {_names(missing)}, got {_names(value)}"
    if rule == "dependentRequired":
        missing = sorted({name for key, names in limit.items() if key in value for name in names} - set(value))
        return f"expected {_names(missing)} as well, got {_names(value)}"
    if rule == "anyOf":
        choices = " or ".join(_names(choice.get("required", ())) for choice in limit)
        return f"expected {choices}, got {_names(value)}"
    if rule == "type":
        return f"expected {limit}, got {_kind(value)}"
    if rule == "enum":
        return f"expected one of {', '.join(map(str, limit))}, got {_short(value)}"
    words = {"minimum": "at least", "maximum": "at most", "const": "exactly"}
    if rule in words:
        return f"expected {words[rule]} {limit}, got {_short(value)}"
    return f"expected {rule} {_short(limit)}, got {_short(value)}"


def _plain(value: Any, path: tuple[str | int, ...]) -> Any:
    """`value` in JSON's own types; refuses null, NaN, infinity and anything that JSON does not have."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, (*path, str(key))) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, (*path, index)) for index, inner in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ArtifactError(f"{FILE_NAME}: {_path(path)}: expected a finite number, got {value}; leave the field out")
    if value is None and path[:1] != (FREE_FORM,):
        raise ArtifactError(f"{FILE_NAME}: {_path(path)}: expected a value, got null; leave out what was not computed")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ArtifactError(f"{FILE_NAME}: {_path(path)}: expected a JSON value, got {type(value).__name__}")


def _path(parts: Iterable[str | int]) -> str:
    """A field's path, such as `rates[3].ci_low`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.lstrip(".") or "top level"


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return "object" if isinstance(value, dict) else "array"
    return f"{type(value).__name__} {_short(value)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def no_constant(name: str) -> float:
    """For `json.loads`: NaN and Infinity are not JSON."""
    raise ValueError(f"{name} is not JSON")


def finite_number(text: str) -> float:
    """For `json.loads`: 1e999 is JSON, but no number that can be reckoned with."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is beyond all numbers")
    return value
