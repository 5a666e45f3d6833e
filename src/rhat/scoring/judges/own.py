"""A judge of the user's own: a function in a file or module."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rhat.errors import JudgeError
from rhat.scoring.judges.judge import CLASSES, Judge, Judgement


def own(address: str) -> Judge:
    """The judge at FILE.py:NAME or MODULE:NAME, a function of (prompt, answer).

    It returns a class, a pair of a class and its confidence, or None.

    Raises:
        JudgeError: if there is no such function, or it cannot be imported; later, if it returns something else.
    """
    where, _, name = address.rpartition(":")
    function = getattr(_module(where), name, None)
    if not callable(function):
        raise JudgeError(f"judge {address}: no function {name!r} there; expected one of (prompt, answer)")
    return Judge(address, "own", where, lambda prompts, answers: _judged(address, function, prompts, answers))


def _module(where: str) -> Any:
    path = Path(where)
    try:
        if path.suffix != ".py":
            return importlib.import_module(where)
        if not path.is_file():
            raise JudgeError(f"judge {where}: no such file; give FILE.py:NAME or MODULE:NAME")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    except JudgeError:
        raise
    except Exception as error:  # whatever the user's own code raises
        raise JudgeError(f"judge {where}: cannot be imported ({type(error).__name__}: {error})") from error


def _judged(
    address: str, function: Callable[[str, str], Any], prompts: Sequence[str], answers: Sequence[str]
) -> list[Judgement | None]:
    found: list[Judgement | None] = []
    for prompt, answer in zip(prompts, answers, strict=True):
        said = function(prompt, answer)
        label, confidence = said if isinstance(said, tuple) and len(said) == 2 else (said, None)
        if label is None:
            found.append(None)
        elif label in CLASSES:
            found.append(Judgement(label, None if confidence is None else float(confidence)))
        else:
            raise JudgeError(f"judge {address}: returned {said!r:.80}, expected one of {', '.join(CLASSES)}, or None")
    return found
