"""The results contract: `results.json`, checked against its records whenever it is written or read.

docs/results.md documents every field. A field that a run did not compute is absent, never null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhat.artifacts.files import finite_number, no_constant, replace_text
from rhat.errors import ArtifactError

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import ValidationError

    from rhat.artifacts.run import Results

__all__ = ["FILE_NAME", "SCHEMA_VERSION", "check", "load", "per_prompt", "read", "records", "schema", "write"]

SCHEMA_VERSION = 3
"""The version of results.json that is written; versions 1 and 2 can be read too."""
OLDER = (1, 2)  # versions that are read, and told as this one tells them
FILE_NAME = "results.json"
"""The name of the file in a study's folder."""

FREE_FORM = "manifest"  # the one key under which null is allowed


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of `results.json`, made from the records."""
    from rhat.questions.contract import RESULTS
    from rhat.questions.schema import schema_of

    return schema_of(RESULTS)


def check(results: Mapping[str, Any]) -> dict[str, Any]:
    """`results` as plain JSON values, checked against the schema; unknown fields are an error.

    Tuples become lists and NumPy scalars Python numbers.

    Raises:
        ArtifactError: with the path of the first field at fault, what it is, and what was expected.
    """
    plain: dict[str, Any] = _plain(results, (), FILE_NAME)
    _records(plain, FILE_NAME, extra="forbid")
    return plain


def write(results: Mapping[str, Any], folder: Path | str) -> Path:
    """Write `results` to `folder`/results.json atomically; `folder` is created if needed.

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
    """The results in a study's folder, or in the file itself, as plain JSON values: `read(folder)["rates"]`.

    Those of versions 1 and 2 are told as version 3 tells them.

    Raises:
        ArtifactError: if the file is missing, not JSON, of an unknown schema version, or breaks the contract.
    """
    return _read(source)[0]


def load(source: Path | str) -> Results:
    """The same as a record, with attributes and look-ups: `load(folder).rates`.

    Raises:
        ArtifactError: as `read`.
    """
    return _read(source)[1]


def per_prompt(folder: Path | str) -> pd.DataFrame:
    """A study's values prompt by prompt (verdict, score, KL, projection) as a pandas frame, one row a prompt and condition.

    Raises:
        ArtifactError: if the folder has no per_prompt.parquet, it cannot be read, or pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ArtifactError(f"{folder}: frames need pandas; install it with pip install pandas") from error
    path = Path(folder) / "per_prompt.parquet"
    try:
        return pandas.read_parquet(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such file; give the folder of a finished `rhat study`") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); run the study again") from error


def records(results: Mapping[str, Any]) -> Results:
    """Results that are already in memory as a record.

    Raises:
        ArtifactError: if they break the contract.
    """
    return _records(_plain(results, (), FILE_NAME), FILE_NAME)


def _read(source: Path | str) -> tuple[dict[str, Any], Results]:
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
    if version in OLDER and not isinstance(version, bool):
        found = _upgraded(found, str(path))
    elif isinstance(version, bool) or version != SCHEMA_VERSION:
        got = "no schema_version" if version is None else f"schema_version {version!r}"
        raise ArtifactError(
            f"{path}: expected schema_version {SCHEMA_VERSION}, got {got}; "
            "use the version of rhat that wrote it, or run the study again"
        )
    return found, _records(_plain(found, (), str(path)), str(path))


def _upgraded(found: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Results of an earlier version as this one tells them."""
    from rhat.artifacts.upgrade import upgrade

    try:
        return upgrade(found)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        said = str(error).splitlines()[0]
        raise ArtifactError(
            f"{where}: broken results of version {found['schema_version']} ({said}); run the study again"
        ) from error


def _records(plain: Mapping[str, Any], where: str, extra: Any = None) -> Results:
    """Plain JSON values as a record; `extra="forbid"` also rejects what the contract does not know."""
    from pydantic import ValidationError

    from rhat.questions.contract import RESULTS

    try:
        return RESULTS.model_validate_json(json.dumps(plain), strict=True, extra=extra)
    except ValidationError as error:
        path, expectation = _fault(error, plain)
        raise ArtifactError(f"{where}: {path}: {expectation}; see docs/results.md") from error


def _fault(error: ValidationError, plain: Mapping[str, Any]) -> tuple[str, str]:
    """The first fault that pydantic found: where it is, and "expected …, got …"."""
    faults = error.errors(include_url=False)
    first = faults[0]
    place, kind, limits = first["loc"], first["type"], first.get("ctx", {})
    if kind == "missing":
        missing = [str(f["loc"][-1]) for f in faults if f["type"] == "missing" and f["loc"][:-1] == place[:-1]]
        return _path(place[:-1]), f"expected {_names(missing)}, got {_names(_at(plain, place[:-1]))}"
    got = _at(plain, place)
    if kind == "extra_forbidden":
        return _path(place), "expected no such field; it is unknown to this version"
    if kind == "value_error":
        return _path(place), str(limits["error"])
    if kind == "literal_error":
        choices = str(limits["expected"]).replace("'", "").replace(" or ", ", ")
        return _path(place), f"expected {'one of ' if ',' in choices else ''}{choices}, got {_short(got)}"
    if kind in ("greater_than_equal", "less_than_equal"):
        word, limit = ("at least", limits["ge"]) if "ge" in limits else ("at most", limits["le"])
        return _path(place), f"expected {word} {round(limit, 3):g}, got {_short(got)}"
    names = {"float_type": "number", "int_type": "integer", "string_type": "string", "bool_type": "boolean"}
    names |= {"tuple_type": "array", "model_type": "object", "dict_type": "object", "int_from_float": "integer"}
    return _path(place), f"expected {names.get(kind, first['msg'])}, got {_kind(got)}"


def _at(value: Any, place: Iterable[str | int]) -> Any:
    """What stands at a place of nested values."""
    for part in place:
        value = value[part]
    return value


def _plain(value: Any, path: tuple[str | int, ...], where: str) -> Any:
    """`value` in JSON's own types; refuses null, NaN, infinity and anything that JSON does not have."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, (*path, str(key)), where) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, (*path, index), where) for index, inner in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ArtifactError(f"{where}: {_path(path)}: expected a finite number, got {value}; leave the field out")
    if value is None and path[:1] != (FREE_FORM,):
        raise ArtifactError(f"{where}: {_path(path)}: expected a value, got null; leave out what was not computed")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ArtifactError(f"{where}: {_path(path)}: expected a JSON value, got {type(value).__name__}")


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
