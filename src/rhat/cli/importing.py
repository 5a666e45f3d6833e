"""Importing: torch and transformers without what no command uses.

Transformers imports torch's compiler and its distributed tensors, scipy's optimisers and torchao for features of its own,
such as training on several machines. The command `rhat` has none of them: there those modules wait until they are used, and
Python's garbage collector waits until all is imported. `import rhat` in a program of yours imports everything as usual.
"""

from __future__ import annotations

import functools
import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any
from unittest.mock import patch

# What transformers and accelerate import by these names, and call only inside functions.
FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "torch._dynamo._trace_wrapped_higher_order_op": ("TransformGetItemToIndex",),
    "scipy.optimize": ("linear_sum_assignment",),
    "torchao.prototype.safetensors.safetensors_support": ("flatten_tensor_state_dict",),
    "boto3": (),
}
# With what torch and they decorate functions, for torch.compile, which no command calls: nothing until that is imported.
DECORATORS: Mapping[str, tuple[str, ...]] = {
    "torch._dynamo": ("allow_in_graph", "assume_constant_result", "disable"),
}


class _Later(ModuleType):
    """Stands for a module while others are imported. Its known names work when they are called, by importing the module then;
    anything else that is asked of it imports the module at once."""

    def __init__(self, name: str, functions: Iterable[str], decorators: Iterable[str]) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)  # which says that it is installed
        self.__path__: list[str] = []  # its parts are found by _Parts
        for each in functions:
            setattr(self, each, functools.partial(_call, name, each))
        for each in decorators:
            setattr(self, each, functools.partial(_decorate, name, each))

    def __getattr__(self, name: str) -> Any:
        if name == "__file__":  # inspect asks every module for it
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


def _real(name: str) -> ModuleType:
    """The module itself, in the place of what stands for it, and of all that stands for its parts."""
    for each in [each for each, module in sys.modules.items() if isinstance(module, _Later)]:
        if each == name or each.startswith(f"{name}.") or name.startswith(f"{each}."):
            _leave(each)
    return importlib.import_module(name)


def _leave(name: str) -> None:
    """Let the next import of a module find the module itself."""
    stand_in = sys.modules.get(name)
    if not isinstance(stand_in, _Later):
        return
    del sys.modules[name]
    parent, _, child = name.rpartition(".")
    if vars(sys.modules.get(parent, stand_in)).get(child) is stand_in:
        delattr(sys.modules[parent], child)


class _Parts:
    """Finds a part of a module that something stands for: both are imported, as usual."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        parent = name.rpartition(".")[0]
        if not isinstance(sys.modules.get(parent), _Later):
            return None
        whole = _real(parent)
        made = sys.modules.pop(name, None)  # importing the whole may have imported the part
        return PathFinder.find_spec(name, whole.__path__) if made is None else ModuleSpec(name, _HandOver(made))


class _HandOver(Loader):
    """Loads a module that is made already."""

    def __init__(self, made: ModuleType) -> None:
        self.made, self.spec = made, made.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.made

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


def _call(module: str, name: str, /, *arguments: Any, **named: Any) -> Any:
    return getattr(_real(module), name)(*arguments, **named)


def _decorate(module: str, name: str, function: Any = None, /, *arguments: Any, **named: Any) -> Any:
    """A function that is itself until the module is imported, and decorated from then on."""
    if function is None:
        return lambda given: _decorate(module, name, given, *arguments, **named)

    @functools.cache
    def made() -> Any:
        return getattr(sys.modules[module], name)(function, *arguments, **named)

    @functools.wraps(function)
    def called(*given: Any, **by_name: Any) -> Any:
        stays = isinstance(sys.modules.get(module), _Later) or module not in sys.modules
        return (function if stays else made())(*given, **by_name)

    return called


@contextmanager
def deferred() -> Iterator[None]:
    """While it lasts the modules above are not imported, and those of decorators not even later until more is asked of them."""
    if _Parts not in sys.meta_path:
        sys.meta_path.insert(0, _Parts)
    for name in (*FUNCTIONS, *DECORATORS):
        if name not in sys.modules:
            stand_in = sys.modules[name] = _Later(name, FUNCTIONS.get(name, ()), DECORATORS.get(name, ()))
            parent, _, child = name.rpartition(".")
            if parent in sys.modules:
                setattr(sys.modules[parent], child, stand_in)
    try:
        yield
    finally:
        for name in FUNCTIONS:
            _leave(name)


@contextmanager
def collected_later() -> Iterator[None]:
    """No garbage is collected while it lasts, and what was made then, which stays, is not looked through again."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def without_distributed() -> None:
    """Let transformers take torch for one that was built without torch.distributed: no command starts a process group.

    What it answers itself once is what it goes by; a version that asks torch each time imports those modules as before.
    """
    import torch
    from transformers.utils import import_utils

    ask = getattr(import_utils, "is_torch_distributed_available", None)
    if ask is not None and hasattr(ask, "cache_info"):
        with patch.object(torch.distributed, "is_available", lambda: False):
            ask()


@contextmanager
def read_once() -> Iterator[None]:
    """While it lasts transformers.utils.import_utils is imported, which then looks only once through each folder of models.

    Importing transformers reads the text of all of its 2,000 modules, and importing the models reads it again.
    """
    yield
    utils = sys.modules["transformers.utils.import_utils"]
    read = getattr(utils, "create_import_structure_from_path", None)
    if read is None:
        return

    @functools.cache
    def kept(folder: str) -> Any:
        return read(folder)

    def of_folder(module_path: str | os.PathLike[str]) -> Any:
        return kept(os.path.dirname(module_path) if os.path.isfile(module_path) else os.fspath(module_path))

    setattr(utils, "create_import_structure_from_path", of_folder)  # noqa: B010  # of a version that has it


@contextmanager
def leanly() -> Iterator[None]:
    """While it lasts, torch and transformers are imported as the command needs them."""
    with collected_later():
        import torch  # noqa: F401  # whose parts are deferred next

        with deferred():
            without_distributed()
            yield
            from transformers import GenerationMixin, masking_utils  # noqa: F401  # with them the class of every model


WATCHED: Mapping[str, Callable[[], Any]] = {
    "torch": collected_later,
    "transformers.utils.import_utils": read_once,
    "rhat.model": leanly,
}


class Watcher:
    """Imports what is watched for within the context that it is given."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The usual spec of a watched module, which runs within its context; None for all others."""
        if name not in WATCHED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        run = getattr(spec and spec.loader, "exec_module", None)
        if spec is None or run is None:
            return spec

        def within(module: ModuleType) -> None:
            with WATCHED[name]():
                run(module)

        setattr(spec.loader, "exec_module", within)  # noqa: B010  # a method of this one loader
        return spec


def watch() -> None:
    """Let torch and `rhat.model` be imported leanly when a command comes to need them; RHAT_PLAIN_IMPORTS=1 imports as usual."""
    if Watcher not in sys.meta_path and not os.environ.get("RHAT_PLAIN_IMPORTS"):
        sys.meta_path.insert(0, Watcher)
