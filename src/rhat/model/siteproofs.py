"""Proofs that every site of a model is read whole, and that an edit there, and there alone, moves the logits."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from rhat.model.chat import ChatModel
from rhat.model.checkreport import Check
from rhat.model.edits import Edit, Read
from rhat.model.finite import distance, faulty, with_range
from rhat.model.layout import ADDED, span
from rhat.model.nudges import Nudge
from rhat.model.origin import check_logits
from rhat.model.prover import Prover
from rhat.sites import KINDS, Kind, Site

ROWS = 31  # sites proved in one pass


class SiteProofs(Prover):
    """Reading and editing, kind by kind; `absent` are the sites that the model lacks."""

    def __init__(self, model: ChatModel) -> None:
        super().__init__(model)
        self.absent: list[Site] = []

    def sites(self) -> Iterator[Check]:
        """Reading and editing, kind by kind."""
        plain = self.run({})
        check_logits(self.model, [self.tokens], torch.zeros(1, dtype=torch.long), plain)
        for kind in KINDS:
            start = time.perf_counter()
            there = [layer for layer in range(self.layout.n_layers) if self.module_of(kind, layer)]
            missing = [layer for layer in range(self.layout.n_layers) if layer not in there]
            if kind == "other_out" and not there and all(parts.sum != "unaccounted" for parts in self.layout.parts):
                continue  # most families have no third part: nothing is lacking
            self.absent += [Site(kind, layer) for layer in missing]
            if missing:
                yield Check(kind, span(missing), "absent", self._why(kind, missing[0]), 0.0)
            if not there:
                continue
            width = self.layout.n_heads * self.layout.head_dim if kind == "head_out" else self.layout.d_model
            faults, least = self._prove(kind, there, (1, len(self.tokens), width), plain)
            yield Check(
                kind,
                f"{span(there)}: {', '.join(dict.fromkeys(self.module_of(kind, layer) or '' for layer in there))}",
                "failed" if faults else "ok",
                "; ".join(faults[:3])
                or f"width {width}; an edit moves the logits by {least:.1e} of their size or more",
                time.perf_counter() - start,
            )

    def _prove(self, kind: Kind, layers: list[int], shape: tuple[int, ...], plain: Tensor) -> tuple[list[str], float]:
        """What is wrong with a kind of site, and the least that an edit at one of its sites moves the logits."""
        shapes: dict[int, tuple[int, ...]] = {}

        def look(layer: int) -> Read:
            return Read(lambda x, _context: shapes.__setitem__(layer, tuple(x.shape)))

        read = self.run({Site(kind, layer): look(layer) for layer in layers})
        faults = [f"{kind}.{i} has shape {shapes.get(i)}, expected {shape}" for i in layers if shapes.get(i) != shape]
        if not torch.equal(read, plain):
            faults.append("reading changes the logits")
        least = float("inf")
        for begin in range(0, len(layers), ROWS):
            some = layers[begin : begin + ROWS]
            edits: dict[Site, Edit] = {Site(kind, layer): Nudge(i, self.noise) for i, layer in enumerate(some)}
            *moved, untouched = self.run(edits, len(some) + 1)
            if distance(untouched, plain[0]) > self.tolerance:
                faults.append("an edit of one row changes another row")
            for layer, logits in zip(some, moved, strict=True):
                shift = distance(logits, untouched)
                least = min(least, shift)
                if bool(faulty(logits)):
                    faults.append(
                        f"editing {kind}.{layer} makes logits that are not finite in {with_range(self.model.dtype)}"
                    )
                elif not shift > 0:
                    faults.append(f"editing {kind}.{layer} does not move the logits")
        if not torch.equal(self.run({}), plain):
            faults.append("the logits are not restored")
        return faults, least

    def _why(self, kind: Kind, layer: int) -> str:
        parts = self.layout.parts[layer]
        if kind in ADDED and parts.sum == "unaccounted":
            return f"no parts add up to what the block adds (relative error {parts.error:.2g})"
        if kind in ("attn_proj", "head_out"):
            return "no output projection of attention heads in this block"
        return "the block has no such part; the others account for all that it adds"
