"""A gate inside a forward pass: reads each prompt's projection on the way, and lets edits through where it is open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from rhat.directions import Direction
from rhat.errors import InterventionError
from rhat.model.edits import Edit, Read
from rhat.model.positions import TokenContext


@dataclass(frozen=True)
class WholeRead(Read):
    """A reader that must see each prompt in one pass, so that no shared beginning may be run before."""

    whole = True


@dataclass(frozen=True, eq=False)
class Gate:
    """Which rows are open, decided when the token that the direction reads passes; kept for the tokens generated after it."""

    direction: Direction
    opens_at: Callable[[Any], Any]
    rows: dict[int, bool] = field(default_factory=dict)
    _known: WeakKeyDictionary[TokenContext, list[bool]] = field(default_factory=WeakKeyDictionary, repr=False)

    def read(self, activation: Tensor, context: TokenContext) -> None:
        """Decide for every row whose prompt is in this pass."""
        wanted = context.prompt_length + self.direction.position
        here = (context.positions == wanted[:, None]) & context.real
        seen = here.any(-1)
        if not bool(seen.any()):
            return
        at = activation[torch.arange(len(here), device=here.device), here.long().argmax(-1)]
        opened = self.opens_at(self.direction.project(at)[seen].cpu().numpy())
        self.rows.update(zip(context.rows[seen].tolist(), map(bool, opened), strict=True))
        self._known.clear()

    def open(self, context: TokenContext) -> list[bool]:
        """Whether it is open for each row.

        Raises:
            InterventionError: if a row's prompt did not pass it: a part of the prompt was run before.
        """
        if context in self._known:  # read back once a pass, not once a site
            return self._known[context]
        rows = context.rows.tolist()
        if any(row not in self.rows for row in rows):
            raise InterventionError(
                "conditional: a part of the prompt was run before its last tokens, so the gate cannot be read; give the "
                "intervention to rhat.logits or model.generate as intervention=, or use `with intervention.on(model)`"
            )
        found = self._known[context] = [self.rows[row] for row in rows]
        return found


@dataclass(frozen=True, eq=False)
class GatedEdit:
    """An edit of the rows whose gate is open; the others stay as they are."""

    edit: Edit
    gate: Gate

    def __call__(self, activation: Tensor, context: TokenContext) -> Tensor | None:
        """The edited activation; None where no row is open, or the edit leaves it."""
        open_ = self.gate.open(context)
        if not any(open_):
            return None
        result = self.edit(activation, context)
        if result is None or all(open_):
            return result
        rows = torch.tensor(open_, device=activation.device)
        return torch.where(rows[:, None, None], result, activation)

    def first_position(self, prompt_length: int, template_start: int) -> int:
        """The edit's first position."""
        return self.edit.first_position(prompt_length, template_start)
