"""What scripts for other tools share: the operators as lines of Python, writing, and running them for a check."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from rhat.errors import DirectionError
from rhat.model.chat import ChatModel
from rhat.model.edits import Edit
from rhat.model.positions import TokenContext
from rhat.model.tap import hooked, tap
from rhat.sites import Site
from rhat.vectors.format import Runner, Steering
from rhat.vocabulary import OPERATORS


def no_such_file(path: Path) -> bool:
    """Scripts are only written."""
    return False


def write_snippet(steering: Steering, path: Path, template: str, **names: Any) -> list[Path]:
    """The script, and r̂ in a safetensors file beside it."""
    from safetensors.torch import save_file

    doing, r = steering.doing, steering.direction
    beside = path.with_suffix(".safetensors")
    save_file({"direction": doing.unit.float().cpu().contiguous()}, beside)
    title = f"{doing.op} at {steering.place}"
    title += f" of {str(r.model.get('name', 'a model'))!r}".replace('"', "'").replace("\\", "/")
    code = OPERATORS[steering.op].code
    imports = "import math\n" if "math." in code else ""
    text = template.format(title=title, value=steering.value, formula=code, imports=imports, **names)
    path.write_text(text, encoding="utf-8")
    return [path, beside]


class _Editing:
    """A script's edit as an edit of a site."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, activation: Tensor, context: TokenContext) -> Tensor:
        return self.function(activation)

    def first_position(self, prompt_length: int, template_start: int) -> int:
        return 0


def snippet_runner(places: Callable[[dict[str, Any]], list[Any]]) -> Runner:
    """A runner that executes a script which rhat wrote, and puts its `edit` where the script says.

    `places` gives sites, or (module, "input" or "output") pairs, from what the script defines.
    """

    @contextmanager
    def run(path: Path, model: ChatModel) -> Iterator[None]:
        if not path.is_file():
            raise DirectionError(f"{path}: no such file")
        script = runpy.run_path(str(path))
        edit = script["edit"]
        sites: dict[Site, Edit] = {}
        outputs: dict[str, Callable[[Tensor], Tensor]] = {}
        for place in places(script):
            if isinstance(place, Site):
                sites[place] = _Editing(edit)
            elif place[1] == "output":
                outputs[place[0]] = edit
            else:
                sites[Site("resid_pre", int(place[0].rpartition(".")[2]))] = _Editing(edit)
        with ExitStack() as stack:
            stack.enter_context(tap(model, sites))
            stack.enter_context(hooked(model.hf, outputs))
            yield

    return run
