"""The edits of one forward pass: the engine's own, each request's for its own rows alone, and the probes around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from rhat.generation.rows import Row
from rhat.model.positions import NEVER, TokenContext
from rhat.model.tap import Chain, Edit, Edits, Read
from rhat.sites import Site


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a batch, and their token context; `members` is None for all of them."""

    members: Int[Tensor, " rows"] | None
    context: TokenContext


@dataclass(frozen=True, eq=False)
class PerPart:
    """One edit for a batch whose parts are edited differently; rows in no part stay as they were."""

    edits: tuple[tuple[Edit, Part], ...]

    def __call__(self, activation: Tensor, context: TokenContext) -> Tensor | None:
        """Each part edited by its own edit; None if nothing changed."""
        changed = None
        for edit, part in self.edits:
            if part.members is None:
                return edit(activation, context)
            members = part.members.to(activation.device)
            result = edit(activation[members], part.context.to(activation.device))
            if result is not None:
                changed = activation.clone() if changed is None else changed
                changed[members] = result
        return changed

    def first_position(self, prompt_length: int, template_start: int) -> int:
        """The earliest of all."""
        return min((e.first_position(prompt_length, template_start) for e, _ in self.edits), default=NEVER)


def batch_edits(engine_edits: Edits, rows: Sequence[Row], context: TokenContext) -> dict[Site, Edit]:
    """What `tap` applies in a forward pass whose batch row i is `rows[i]`.

    At each site: probes read, then the engine's edits, then each request's, then probes read again.
    """
    before, after = _readers(rows, "arriving"), _readers(rows, "leaving")
    own = _own_edits(rows, context)
    chains: dict[Site, list[Edit]] = {}
    for layer in (before, engine_edits, own, after):
        for site, edit in layer.items():
            chains.setdefault(site, []).append(edit)
    return {site: chain[0] if len(chain) == 1 else Chain(tuple(chain)) for site, chain in chains.items()}


def _own_edits(rows: Sequence[Row], context: TokenContext) -> dict[Site, Edit]:
    groups: dict[int, tuple[Edits, list[int]]] = {}
    for index, row in enumerate(rows):
        if row.request.edits:
            groups.setdefault(id(row.request.edits), (row.request.edits, []))[1].append(index)
    at: dict[Site, list[tuple[Edit, Part]]] = {}
    for edits, members in groups.values():
        part = Part(None, context) if len(members) == len(rows) else _part(members, context)
        for site, edit in edits.items():
            at.setdefault(site, []).append((edit, part))
    return {site: PerPart(tuple(parts)) for site, parts in at.items()}


def _part(members: list[int], context: TokenContext) -> Part:
    which = torch.tensor(members, device=context.positions.device)
    return Part(
        which,
        replace(
            context,
            **{n: getattr(context, n)[which] for n in ("positions", "real", "prompt_length", "template_start", "rows")},
            length=None if context.length is None else context.length[which],
        ),
    )


def _readers(rows: Sequence[Row], into: str) -> dict[Site, Edit]:
    """Readers that note each probed row's projections in its `arriving` or `leaving`."""
    probed: dict[Site, dict[int, tuple[Tensor, list[int]]]] = {}
    for index, row in enumerate(rows):
        probe = row.request.probe
        if probe is not None:
            units = probed.setdefault(probe.site, {})
            units.setdefault(id(probe.unit), (probe.unit, []))[1].append(index)

    def reader(units: dict[int, tuple[Tensor, list[int]]]) -> Read:
        def note(activation: Tensor, context: TokenContext) -> None:
            for unit, members in units.values():
                which = torch.tensor(members, device=activation.device)
                values = (activation[which].double() @ unit.to(activation.device).double()).tolist()
                first = torch.minimum(context.template_start[which], context.prompt_length[which] - 1)
                wanted = context.real[which] & (context.positions[which] >= first[:, None])
                positions = context.positions[which].tolist()
                for index, reads, places, keep in zip(members, values, positions, wanted.tolist(), strict=True):
                    getattr(rows[index], into).update(
                        {place: value for place, value, kept in zip(places, reads, keep, strict=True) if kept}
                    )

        return Read(note)

    return {site: reader(units) for site, units in probed.items()}
