"""Format: what one tool's files of vectors can say, how they are read, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from rhat.directions import Direction
from rhat.errors import DirectionError, InterventionError
from rhat.interventions import Intervention
from rhat.model.chat import ChatModel
from rhat.reprs import one_line
from rhat.sites import Site


@dataclass(frozen=True)
class Wanted:
    """Which vector to read from a file that holds several or does not say.

    site   where it acts, as `resid_pre.12`; where the file says, one of those that it has
    key    the name of a tensor
    row    the row of a matrix, such as a feature of a sparse autoencoder's decoder
    width  the model's d_model, if known: tells rows from columns
    """

    site: Site | None = None
    key: str | None = None
    row: int | None = None
    width: int | None = None

    __repr__ = one_line


@dataclass(frozen=True, eq=False)
class Given:
    """A vector as stored in a file, of any length, with what the file states about it. None: the file does not say."""

    raw: Float[Tensor, " d_model"]
    site: Site
    position: int | None = None
    mean_harmful: float | None = None
    mean_harmless: float | None = None
    method: str = "given"
    model: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    __repr__ = one_line

    def direction(self, model: ChatModel | None = None) -> Direction:
        """The vector as a direction, its length kept as `norm`; the position is −1, the last token, where the file says none.

        Raises:
            DirectionError: if it does not fit the model, or the file names another one by its identity.
        """
        raw = self.raw.double()
        made = Direction.of(
            raw / raw.norm(),
            site=self.site,
            position=-1 if self.position is None else self.position,
            mean_harmful=self.mean_harmful,
            mean_harmless=self.mean_harmless,
            method=self.method,
            model=self.model,
            extra=self.extra,
        )
        made = made * float(raw.norm())
        return made if model is None else made.check_fits(model)


@dataclass(frozen=True, eq=False)
class Steering:
    """An intervention to be exported, with the direction and the model it belongs to."""

    doing: Intervention
    direction: Direction
    model: ChatModel | None = None

    __repr__ = one_line

    @property
    def op(self) -> str:
        """The operator; subtracting is adding a negative multiple."""
        return "add" if self.doing.op == "subtract" else self.doing.op

    @property
    def value(self) -> float:
        """The operator's number, with the sign of `op`."""
        return -self.doing.value if self.doing.op == "subtract" else self.doing.value

    @property
    def sites(self) -> list[Site]:
        """Where it acts in the model.

        Raises:
            DirectionError: if there is no model to tell.
        """
        if self.model is None:
            raise DirectionError("export: which sites a model has is known from the model alone; give it")
        return self.doing.sites(self.model.layout)

    @property
    def place(self) -> str:
        """Where it acts, in words."""
        return str(self.doing.describe()["sites"])


Reader = Callable[[Path, Wanted], Given]
Writer = Callable[[Steering, Path], list[Path]]
Runner = Callable[[Path, ChatModel], AbstractContextManager[None]]


@dataclass(frozen=True, eq=False)
class Format:
    """A file format of another tool.

    name      how users write it
    tools     who reads and writes such files
    holds     what comes in; "" if nothing is read
    says      what goes out; "" if nothing is written
    lacks     what it cannot say, with the reason
    matches   path → whether a file is of this format; files are told apart by what is in them, not by their names alone
    read      (path, wanted) → the vector
    operators those that can go out; subtract goes as add
    suffix    of the file that is written
    write     (steering, path) → the files written, the one to hand over first
    run       (path, model) → a context in which `model.hf` computes what the tool would, from the file alone
    modelled  whether writing needs the model itself, for the names of its modules
    """

    name: str
    tools: str
    matches: Callable[[Path], bool]
    holds: str = ""
    says: str = ""
    lacks: str = ""
    read: Reader | None = None
    operators: tuple[str, ...] = ()
    suffix: str = ""
    write: Writer | None = None
    run: Runner | None = None
    modelled: bool = False

    __repr__ = one_line

    def check_says(self, doing: Any) -> Intervention:
        """The intervention, if a file of this format can say it.

        Raises:
            InterventionError: with the reason.
        """
        lacks = f"{self.name} files cannot say that: {self.lacks}"
        if self.write is None:
            raise InterventionError(
                f"{self.name}: such files are only read; the formats that are written are in docs/vectors.md"
            )
        if not isinstance(doing, Intervention):
            raise InterventionError(
                f"{type(doing).__name__}: {lacks}; conditions, patched heads and combinations stay in rhat"
            )
        if doing.op != "subtract" and doing.op not in self.operators:
            raise InterventionError(f"{doing.op}: {lacks}; expected one of {', '.join(self.operators)}")
        if doing.scope.name != "all":
            raise InterventionError(f"scope {doing.scope}: {lacks}; expected the scope all")
        return doing
