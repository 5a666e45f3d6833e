"""Verifying a study: each value that can be computed again is held against what results.json says."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rhat import results as contract
from rhat.errors import VerificationError
from rhat.reprs import one_line
from rhat.verification.kept import FILE_NAME, Kept, read
from rhat.verification.recomputing import SECTIONS, Recomputed

CLOSE = 1e-9  # what another build's rounding may add, of the larger of the value and 1
GIVEN = (
    "candidates", "claims_fingerprint", "conditions", "direction", "judges", "manifest", "model", "openings", "outcome",
    "outcome_sentence", "prompts", "prompts_fingerprint", "refusal_tokens", "schema_version", "selection", "settings",
    "timings",
)  # fmt: skip
"""Parts of results.json that say what was run, by which the others are computed again."""


@dataclass(frozen=True)
class Verification:
    """What was verified: values that were computed again and agree, and how many of each list could not be.

    checked      values computed again, by the list or object of results.json
    unchecked    numbers and verdicts that per_prompt.parquet does not hold the ground of, likewise
    given        parts that say what was run, taken as they are
    """

    folder: Path
    checked: Mapping[str, int]
    unchecked: Mapping[str, int]
    given: tuple[str, ...]

    __repr__ = one_line

    def lines(self) -> list[str]:
        """The same in sentences, one a line."""
        total = sum(self.checked.values())
        said = [f"{self.folder}: {total} values computed again from {FILE_NAME}, each as written"]
        said.append(f"checked: {_listed(self.checked)}")
        left = sum(self.unchecked.values())
        if left:
            said.append(
                f"not checked, {left} values that need the model, its activations or scores that are not kept: {_listed(self.unchecked)}"
            )
        return [*said, f"taken as given: {', '.join(self.given)}"]


def verify(folder: Path | str) -> Verification:
    """Compute every number and verdict of a study again from per_prompt.parquet, without a model or torch.

    Rates, corrected rates, intervals, differences, discordant counts, p values before and after adjustment, claims and verdict
    words; also the verdicts of completions.jsonl, and the hash of per_prompt.parquet where the manifest has one.

    Raises:
        VerificationError: at the first value that differs: where it is, what is written, what was computed.
        ArtifactError: if a file is missing or damaged.
    """
    folder = Path(folder)
    written, kept = contract.read(folder), read(folder)
    touched: set[tuple[str | int, ...]] = set()
    for section in SECTIONS:
        for found in section(written, kept):
            touched |= set(_held(written, found))
    _completions(folder, kept)
    _hash(folder, written)
    checked, unchecked = Counter[str](), Counter[str]()
    for path, value in _leaves(written):
        if path in touched:
            checked[_name(path)] += 1
        elif path[0] not in GIVEN and _is_finding(path, value):
            unchecked[_name(path)] += 1
    return Verification(
        folder,
        dict(checked),
        dict(unchecked),
        tuple(key for key in GIVEN if key in written and key != "claims_fingerprint"),
    )


def _held(written: Any, found: Recomputed) -> Iterator[tuple[str | int, ...]]:
    """The paths of what agrees.

    Raises:
        VerificationError: if something does not.
    """
    at: Any = written
    for part in found.path:
        at = at.get(part) if isinstance(at, Mapping) else at[part] if part < len(at) else None
        if at is None:
            raise _differs(found.path, None, found.value)
    if not isinstance(found.value, Mapping):
        _same(found.path, at, found.value)
        yield from (path for path, _ in _leaves(at, found.path))
        return
    if found.whole:
        for key in at:
            if key not in found.value:
                raise _differs((*found.path, key), at[key], None)
    for key, value in found.value.items():
        _same((*found.path, key), at.get(key), value)
        yield from (path for path, _ in _leaves(value, (*found.path, key)))


def _same(path: tuple[str | int, ...], written: Any, computed: Any) -> None:
    if isinstance(computed, list) and isinstance(written, list) and len(computed) == len(written):
        for i, (one, other) in enumerate(zip(written, computed, strict=True)):
            _same((*path, i), one, other)
        return
    if isinstance(computed, Mapping) and isinstance(written, Mapping):
        for key in dict.fromkeys([*computed, *written]):
            _same((*path, key), written.get(key), computed.get(key))
        return
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (written, computed))
    if numbers and abs(written - computed) <= CLOSE * max(1.0, abs(computed)):
        return
    if numbers or written != computed:
        raise _differs(path, written, computed)


def _differs(path: Iterable[str | int], written: Any, computed: Any) -> VerificationError:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    said = ["nothing" if value is None else json.dumps(value, ensure_ascii=False) for value in (written, computed)]
    return VerificationError(
        f"{contract.FILE_NAME}: {place}: {said[0]} is written, {said[1]} was computed from {FILE_NAME}"
    )


def _completions(folder: Path, kept: Kept) -> None:
    """The verdicts of completions.jsonl are those of per_prompt.parquet."""
    path = folder / "completions.jsonl"
    if not path.exists():
        return
    verdicts = {
        (m.condition, m.label, i): verdict
        for m in kept
        for i, verdict in zip(m.prompt_ids, m.verdicts or (None,) * len(m.prompt_ids), strict=True)
    }
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line:
            continue
        row = json.loads(line)
        found = verdicts.get((row["condition"], row["label"], row["prompt_id"]))
        if found != row["verdict"]:
            raise VerificationError(
                f"{path.name}: line {number}: {row['verdict']} is written, {found or 'nothing'} stands in {FILE_NAME}"
            )


def _hash(folder: Path, written: Mapping[str, Any]) -> None:
    """per_prompt.parquet is the file that the study wrote: also what no number of results.json stands on."""
    said = (written.get("manifest") or {}).get("sha256", {}).get(FILE_NAME)
    found = hashlib.sha256((folder / FILE_NAME).read_bytes()).hexdigest()
    if said is not None and said != found:
        raise VerificationError(
            f"{contract.FILE_NAME}: manifest.sha256: {said[:16]}… is written, {FILE_NAME} has {found[:16]}…"
        )


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value that is no list or object, with its path."""
    if isinstance(value, Mapping | list):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _leaves(inner, (*path, key))
    else:
        yield path, value


WORDS = ("better", "worse", "equivalent", "undecided")


def _is_finding(path: tuple[str | int, ...], value: Any) -> bool:
    """Whether a value says something that was found: numbers and verdicts, not the names and settings of its row."""
    names = {
        "n",
        "layer",
        "seed",
        "k",
        "tokens",
        "dose",
        "target",
        "coefficient",
        "margin",
        "draws",
        "most",
        "position",
    }
    last = next(part for part in reversed(path) if isinstance(part, str))
    if isinstance(value, str):
        return value in WORDS
    return last not in names


def _name(path: tuple[str | int, ...]) -> str:
    """The list that a value is in, such as heads.curve."""
    names = [part for part in path if isinstance(part, str)]
    return ".".join(names[:2]) if names[0] in ("heads", "repe", "stability", "ablate_vs_subtract") else names[0]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{re.sub('_', ' ', name)} {count}" for name, count in sorted(counts.items())) or "nothing"
