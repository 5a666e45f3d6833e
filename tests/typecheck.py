"""The runtime type checker of the tests: beartype for types, jaxtyping for shapes, at a price that the suite can pay.

jaxtyping's hook decorates every function of a module anew whenever its `def` is run, which for a function inside a function is at
every call of the outer one, and makes a memory of shapes for functions that name none. The first took more time than all models.
So did checking every call: now each test has the first calls of each function checked, and a function is decorated when it is
first called.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections import Counter
from collections.abc import Callable
from functools import partial, update_wrapper, wraps
from types import CodeType, FunctionType
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float where one is asked for

ARRAYS = re.compile(r"\b(Float|Int|Bool|Complex|Shaped|Num|Inexact|Real|UInt|Integer)\w*\[")
NOT_PLAIN = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_GENERATOR
OFTEN = 3  # times that an inner function is checked when its `def` is run again
CALLS = 20  # of each function that are checked in each test
_jaxtyped = jaxtyping.jaxtyped
_made: Counter[CodeType] = Counter()
_tests = 0  # that began


def begin() -> None:
    """A test begins: as many calls are checked again."""
    global _tests
    _tests += 1


def _sparing(fn: FunctionType, decorate: Callable[[FunctionType], Any]) -> Any:
    """A function of whose calls the first of each test are checked, and which is decorated when it is first called."""
    checked: Any = None
    test, left = -1, 0

    @wraps(fn)
    def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked, test, left
        if test != _tests:
            test, left = _tests, CALLS
        if left <= 0:
            return fn(*args, **kwargs)
        left -= 1
        if checked is None:
            checked = decorate(fn)
        return checked(*args, **kwargs)

    return called


def _inner_once_known(fn: Any) -> bool:
    """Whether this is a function inside a function that was checked before."""
    if not isinstance(fn, FunctionType) or "<locals>" not in fn.__qualname__:
        return False
    _made[fn.__code__] += 1
    return _made[fn.__code__] > OFTEN


def _shapeless(fn: Any) -> bool:
    """Whether this is a plain function whose annotations name no shape."""
    if not isinstance(fn, FunctionType):
        return False
    return not any(ARRAYS.search(str(said)) for said in fn.__annotations__.values())


def _resolved(said: str, names: dict[str, Any]) -> Any:
    try:
        return eval(said, names)
    except Exception:  # as jaxtyping does
        return Any


def _typed(fn: FunctionType) -> Any:
    """A function with its types checked; what cannot be resolved at run time, such as names for type checkers only, may be anything."""
    resolved = FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    update_wrapper(resolved, fn)
    resolved.__kwdefaults__ = fn.__kwdefaults__
    del resolved.__wrapped__  # type: ignore[attr-defined]
    resolved.__annotations__ = {
        name: _resolved(said, fn.__globals__) if isinstance(said, str) else said
        for name, said in fn.__annotations__.items()
    }
    checked = check(resolved)
    if checked is resolved:
        return fn
    checked.__annotations__, checked.__wrapped__ = fn.__annotations__, fn  # pages show signatures as they are written
    return checked


def jaxtyped(fn: Any = None, *, typechecker: Any) -> Any:
    """`jaxtyping.jaxtyped`, sparing."""
    if fn is None:
        return partial(jaxtyped, typechecker=typechecker)
    if _inner_once_known(fn):
        return fn
    if inspect.isclass(fn):
        written = getattr(fn.__init__, "__globals__", None)  # None: not written in Python
        if dataclasses.is_dataclass(fn) and written and written["__name__"] != __name__:
            fn.__init__ = _sparing(fn.__init__, partial(_jaxtyped, typechecker=typechecker))
        return fn
    decorate = _typed if _shapeless(fn) else partial(_jaxtyped, typechecker=typechecker)
    plain = isinstance(fn, FunctionType) and not fn.__code__.co_flags & NOT_PLAIN
    return _sparing(fn, decorate) if plain else decorate(fn)


def install(modules: list[str]) -> None:
    """Check these modules when they are imported."""
    jaxtyping.jaxtyped = jaxtyped
    jaxtyping.install_import_hook(modules, "typecheck.check")
