"""Commands that share options: a parameter that is a class of options is expanded into them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


def shared(function: Callable[..., None]) -> Callable[..., None]:
    """A command's function whose parameters of the types above are expanded into the options of those classes.

    Typer reads one option per parameter. With

        @shared
        def check(where: ModelOptions, form: FormatOption = Format.table) -> None: ...

    Typer sees `check(*, model=…, revision=…, …, form=…)`: one keyword for each field of ModelOptions, with the field's help and
    default. When it calls that, the keywords are collected into `ModelOptions(model=…, revision=…, …)` again, and `check` receives
    it as `where`.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        kind = hints[name]
        if is_dataclass(kind):
            groups[name] = kind
            of_fields = get_type_hints(kind, include_extras=True)
            parameters += [
                parameter.replace(name=f.name, annotation=of_fields[f.name], default=f.default) for f in fields(kind)
            ]
        else:
            parameters.append(parameter.replace(annotation=hints[name]))
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]

    @functools.wraps(function)
    def spread(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{f.name: given.pop(f.name) for f in fields(kind)})
        function(**given)

    del spread.__wrapped__
    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    spread.__annotations__ = {p.name: p.annotation for p in parameters}
    return spread
