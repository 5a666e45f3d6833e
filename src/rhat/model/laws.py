"""Laws of a model: what must add up in it, and how it may be run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from rhat.model.checkreport import Check, Outcome
from rhat.model.edits import Edit, Read, merge
from rhat.model.finite import distance
from rhat.model.layout import ADDED, span
from rhat.model.lengths import try_lengths
from rhat.model.nudges import Remove
from rhat.model.origin import check_logits
from rhat.model.plain import plain_forward
from rhat.model.precision import wide
from rhat.model.prover import Prover
from rhat.model.tap import tap
from rhat.sites import Site


class Laws(Prover):
    """What must hold of a model's parts, of its batches and of the ways to run it."""

    def laws(self) -> Iterator[Check]:
        """What must add up, and how the model is run."""
        yield self.timed("resid_post is the next block's resid_pre", self._chain)
        yield self.timed("block parts add up to the residual stream", self._sums)
        yield self.timed("ablation leaves nothing in what blocks give", self._ablation)
        yield self.timed("heads add up to the attention projection", self._heads)
        yield self.timed("left padding changes nothing", self._padding)
        yield from self._lengths()
        start = time.perf_counter()
        way = self.model.fast_path
        form = {"4d": "mask of query and key", "2d": "mask of keys"}.get(way.mask or "", "")
        yield Check(
            "fast path",
            "whole model",
            "ok" if way.mask else "absent",
            f"equals the plain path; {form}" if way.mask else f"run by the plain path: {way.reason}",
            time.perf_counter() - start,
        )

    def _lengths(self) -> Iterator[Check]:
        """Prompts of mixed lengths, on both sides of each length at which the model changes, and what was not tried."""
        start = time.perf_counter()
        found = try_lengths(self.model, [token for prompt in self.prompts for token in prompt])
        wrong = {way: error for way, error in found.errors.items() if not error <= self.tolerance}
        sides = "".join(f"; {s.length} and {s.length + 1} ({s.why})" for s in found.tried)
        yield Check(
            "prompts of mixed lengths agree with plain transformers",
            f"{', '.join(map(str, found.ordinary))} tokens{sides}",
            "failed" if wrong else "ok",
            "; ".join(f"{way}: relative error {error:.1e}" for way, error in (wrong or found.errors).items()),
            time.perf_counter() - start,
        )
        if found.left:
            yield Check(
                "lengths not tried",
                ", ".join(str(switch) for switch, _ in found.left),
                "absent",
                "; ".join(f"{switch.length}: {reason}" for switch, reason in found.left)
                + ("; the rotation by itself was tried" if any("rotation" in s.why for s, _ in found.left) else ""),
                0.0,
            )

    def _chain(self) -> tuple[str, Outcome, str]:
        held = self.read(("resid_pre", "resid_post"))
        n = self.layout.n_layers
        wrong = [
            i for i in range(n - 1) if not torch.equal(held[Site("resid_post", i)], held[Site("resid_pre", i + 1)])
        ]
        return span(range(n)), "failed" if wrong else "ok", f"differs at layers {wrong}" if wrong else "bit by bit"

    def _sums(self) -> tuple[str, Outcome, str]:
        n = self.layout.n_layers
        sums = {
            law: [i for i in range(n) if self.layout.parts[i].sum == law]
            for law in ("pre-norm", "post-norm", "unaccounted")
        }
        held = self.read(("resid_pre", *ADDED, "resid_post"))
        worst = 0.0
        for layer in sums["pre-norm"]:
            before, after = wide(held[Site("resid_pre", layer)]), wide(held[Site("resid_post", layer)])
            parts = [wide(held[site]) for site in (Site(kind, layer) for kind in ADDED) if site in held]
            worst = max(worst, distance(before * self.layout.parts[layer].carry + sum(parts), after))
        if worst > self.tolerance:
            return span(sums["pre-norm"]), "failed", f"relative error {worst:.1e}"
        scales = dict.fromkeys(c for i in sums["pre-norm"] for c in self._scales(i) if c != 1.0)
        scale = f", scale {', '.join(f'{c:g}' for c in scales)}" if scales else ""
        if sums["unaccounted"]:
            return span(sums["unaccounted"]), "absent", "ablation acts at the block's input and output there"
        forms = " and ".join(law for law, layers in sums.items() if layers)
        return span(range(n)), "ok", f"{forms}{scale}; relative error {worst:.1e}"

    def _ablation(self) -> tuple[str, Outcome, str]:
        """Remove a direction from the first block's input and from what blocks add: what they give holds none of it."""
        unit = wide(self.noise[: self.layout.d_model])
        remove = Remove(unit / unit.norm())
        left: dict[int, float] = {}

        def look(layer: int) -> Read:
            return Read(lambda x, _c: left.__setitem__(layer, distance(wide(x) - remove.along(x), wide(x))))

        edits: dict[Site, Edit] = {Site("resid_pre", 0): remove}
        for layer, parts in enumerate(self.layout.parts):
            edits |= {Site(kind, layer): remove for kind in parts.writes if kind != "resid_pre"}
        self.run(merge(edits, {Site("resid_post", layer): look(layer) for layer in range(self.layout.n_layers)}))
        worst = max(left.values())
        measured = f"{worst:.1e} of the stream's size left; acts at {self.layout.ablation}"
        return span(range(self.layout.n_layers)), "ok" if worst <= self.tolerance else "failed", measured

    def _scales(self, layer: int) -> list[float]:
        """What multiplies the parts that a block adds, and its input."""
        parts = self.layout.parts[layer]
        return [*(parts.scale(kind) for kind in ADDED if self.module_of(kind, layer)), parts.carry]

    def _heads(self) -> tuple[str, Outcome, str]:
        held = self.read(("head_out", "attn_proj"))
        layers = sorted({site.layer for site in held})
        if not layers:
            return "", "absent", "no block has an output projection of attention heads"
        n_heads, head_dim = self.layout.n_heads, self.layout.head_dim
        own = torch.eye(n_heads).repeat_interleave(head_dim, 1)[:, None]  # [head, 1, head · head_dim]
        worst = 0.0
        for layer in layers:
            x, out = held[Site("head_out", layer)][0], wide(held[Site("attn_proj", layer)][0])
            project = self.layout.parts[layer].attn_proj
            assert project is not None
            with torch.no_grad(), tap(self.model, {}):
                bias = wide(project(torch.zeros_like(x[None]))[0])
                summed = (wide(project(x * own.to(x))) - bias).sum(0) + bias
            worst = max(worst, distance(summed, out))
        fine = worst <= self.tolerance
        return (
            f"{span(layers)}, {n_heads} heads of {head_dim}",
            "ok" if fine else "failed",
            f"relative error {worst:.1e}",
        )

    def _padding(self) -> tuple[str, Outcome, str]:
        if not self.model.supports_padding:
            return f"{len(self.prompts)} prompts", "absent", "it does: prompts of unequal length are run one by one"
        together = wide(plain_forward(self.model, self.prompts, torch.arange(len(self.prompts))))
        alone = torch.cat([wide(plain_forward(self.model, [p], torch.tensor([i]))) for i, p in enumerate(self.prompts)])
        check_logits(self.model, self.prompts, torch.arange(len(self.prompts)), alone)
        error = distance(together, alone)
        return (
            f"{len(self.prompts)} prompts",
            "ok" if error <= self.tolerance else "failed",
            f"relative error {error:.1e}",
        )
