"""The edits of one forward pass: the engine's own, each request's for its own rows alone, and the probes around them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rhat.generation.rows import Row
from rhat.model.dispatch import Group, per_row
from rhat.model.edits import Edit, Edits, Read, merge
from rhat.model.positions import TokenContext
from rhat.model.precision import wide
from rhat.sites import Site


def batch_edits(engine_edits: Edits, rows: Sequence[Row], context: TokenContext) -> dict[Site, Edit]:
    """What `tap` applies in a forward pass whose batch row i is `rows[i]`.

    At each site: probes read, then the engine's edits, then each request's, then probes read again.
    """
    before, after = _readers(rows, "projection_before"), _readers(rows, "projection_after")
    return merge(before, engine_edits, _own_edits(rows, context), after)


def _own_edits(rows: Sequence[Row], context: TokenContext) -> dict[Site, Edit]:
    # By identity: edits hold tensors, which have no cheap equality, and the requests keep their mappings alive for this pass.
    groups: dict[int, tuple[Edits, list[int]]] = {}
    for index, row in enumerate(rows):
        if row.request.edits:
            groups.setdefault(id(row.request.edits), (row.request.edits, []))[1].append(index)
    return per_row(
        [
            (
                edits,
                Group(None if len(members) == len(rows) else torch.tensor(members, device=context.positions.device)),
            )
            for edits, members in groups.values()
        ]
    )


def _readers(rows: Sequence[Row], into: str) -> dict[Site, Edit]:
    """Readers that note each probed row's projections in its `projection_before` or `projection_after`."""
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
                own = wide(activation[which])
                values = (own @ wide(unit).to(own.device)).tolist()
                first = torch.minimum(context.template_start[which], context.prompt_length[which] - 1)
                wanted = context.real[which] & (context.positions[which] >= first[:, None])
                positions = context.positions[which].tolist()
                for index, reads, places, keep in zip(members, values, positions, wanted.tolist(), strict=True):
                    getattr(rows[index], into).update(
                        {place: value for place, value, kept in zip(places, reads, keep, strict=True) if kept}
                    )

        return Read(note)

    return {site: reader(units) for site, units in probed.items()}
