"""Self-check: every site of a model reads the right shape, an edit there moves the logits, and the parts add up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from rhat.model.chat import ChatModel
from rhat.model.edits import Edit, Read, merge
from rhat.model.finite import distance, faulty, said
from rhat.model.layout import ADDED, span
from rhat.model.lengths import try_lengths
from rhat.model.nudges import Nudge, Remove
from rhat.model.origin import check_logits
from rhat.model.plain import plain_forward
from rhat.model.tap import tap
from rhat.sites import KINDS, Kind, Site

Outcome = Literal["ok", "failed", "absent"]
ROWS = 31  # sites proved in one pass
TEXTS = ("Name a river.", "Why is the sky blue at noon and red in the evening?")


@dataclass(frozen=True)
class Check:
    """One thing proved, or not, by running the model.

    what      a kind of site, or a law
    where     the layers, and the module inside the block
    outcome   "ok", "failed", or "absent": this model has no such part, or it could not be told apart
    measured  the number behind the outcome, with its meaning
    """

    what: str
    where: str
    outcome: Outcome
    measured: str
    seconds: float


@dataclass(frozen=True)
class CheckReport:
    """What was proved on a model, what it lacks, and whether it is run by the fast path."""

    model: str
    architecture: str
    checks: tuple[Check, ...]
    fast: bool
    reason: str  # why the fast path is not taken; empty where it is
    absent: tuple[Site, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether nothing failed. What is absent is said, but does not fail."""
        return all(check.outcome != "failed" for check in self.checks)

    def rows(self) -> list[dict[str, Any]]:
        """One mapping a check, all with the same keys, ready for a table."""
        return [
            {
                "check": c.what,
                "where": c.where,
                "outcome": c.outcome,
                "measured": c.measured,
                "seconds": round(c.seconds, 3),
            }
            for c in self.checks
        ]


def check(model: ChatModel) -> CheckReport:
    """Prove a model's layout by running it; takes a few forward passes of short prompts, and longer ones up to a bound.

    Many sites of a kind are proved in one pass: each row of a batch is edited at one layer only, and the last row nowhere.

    Raises:
        NonFiniteError: if the logits of the unedited model are no distribution: nothing can be proved of those.
    """
    prover = _Prover(model)
    checks = [*prover.sites(), *prover.laws()]
    return CheckReport(
        model.name, type(model.hf).__name__, tuple(checks), model.fast, model.fast_path.reason, tuple(prover.absent)
    )


class _Prover:
    """The runs behind a report."""

    def __init__(self, model: ChatModel) -> None:
        self.model = model
        self.layout = model.layout
        self.prompts = model.tokenize(TEXTS)
        # far below what a mistake makes, and above what the parts that run in float32 or round to bfloat16 leave
        packed = not all(
            p.is_floating_point() for p in model.hf.parameters()
        )  # 4-bit products are rounded as bfloat16's
        self.tolerance = 0.05 if packed else {torch.float64: 1e-5, torch.float32: 1e-3}.get(model.dtype, 0.05)
        self.absent: list[Site] = []
        self.tokens = min(self.prompts, key=len)[-8:]
        self.noise = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0))

    def module_of(self, kind: Kind, layer: int) -> str | None:
        """The name inside its block of the module that a site hangs on; None if the block has no such part."""
        parts = self.layout.parts[layer]
        if parts.module(kind) is None:
            return None
        proj, attn, mlp, other = parts.names
        named = {"attn_proj": proj, "head_out": proj, "attn_out": attn, "mlp_out": mlp, "other_out": other}
        return named.get(kind, "the block") or None

    def run(self, edits: dict[Site, Edit], n_rows: int = 1) -> Tensor:
        """Logits, float64, of the same few tokens in `n_rows` rows."""
        return plain_forward(self.model, [self.tokens] * n_rows, torch.arange(n_rows), edits).double()

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
                        f"editing {kind}.{layer} makes logits that are not finite in {said(self.model.dtype)}"
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

    def laws(self) -> Iterator[Check]:
        """What must add up, and how the model is run."""
        yield self._timed("resid_post is the next block's resid_pre", self._chain)
        yield self._timed("block parts add up to the residual stream", self._sums)
        yield self._timed("ablation leaves nothing in what blocks give", self._ablation)
        yield self._timed("heads add up to the attention projection", self._heads)
        yield self._timed("left padding changes nothing", self._padding)
        yield from self._lengths()
        start = time.perf_counter()
        way = self.model.fast_path
        said = {"pairs": "mask of query and key", "keys": "mask of keys"}.get(way.mask or "", "")
        yield Check(
            "fast path",
            "whole model",
            "ok" if way.mask else "absent",
            f"equals the plain path; {said}" if way.mask else f"run by the plain path: {way.reason}",
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

    def _timed(self, what: str, prove: Any) -> Check:
        start = time.perf_counter()
        where, outcome, measured = prove()
        return Check(what, where, outcome, measured, time.perf_counter() - start)

    def _read(self, kinds: tuple[Kind, ...]) -> dict[Site, Tensor]:
        """Activations of the few tokens at every site of these kinds that is there."""
        held: dict[Site, Tensor] = {}
        edits: dict[Site, Edit] = {}
        for kind in kinds:
            for layer in range(self.layout.n_layers):
                if self.module_of(kind, layer):
                    site = Site(kind, layer)
                    edits[site] = Read(lambda x, _c, at=site: held.__setitem__(at, x.clone()))  # type: ignore[misc]
        self.run(edits)
        return held

    def _chain(self) -> tuple[str, Outcome, str]:
        held = self._read(("resid_pre", "resid_post"))
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
        held = self._read(("resid_pre", *ADDED, "resid_post"))
        worst = 0.0
        for layer in sums["pre-norm"]:
            before, after = held[Site("resid_pre", layer)].double(), held[Site("resid_post", layer)].double()
            parts = [held[site].double() for site in (Site(kind, layer) for kind in ADDED) if site in held]
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
        unit = self.noise[: self.layout.d_model].double()
        remove = Remove(unit / unit.norm())
        left: dict[int, float] = {}

        def look(layer: int) -> Read:
            return Read(lambda x, _c: left.__setitem__(layer, distance(x.double() - remove.along(x), x.double())))

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
        held = self._read(("head_out", "attn_proj"))
        layers = sorted({site.layer for site in held})
        if not layers:
            return "", "absent", "no block has an output projection of attention heads"
        n_heads, head_dim = self.layout.n_heads, self.layout.head_dim
        own = torch.eye(n_heads).repeat_interleave(head_dim, 1)[:, None]  # [head, 1, head · head_dim]
        worst = 0.0
        for layer in layers:
            x, out = held[Site("head_out", layer)][0], held[Site("attn_proj", layer)][0].double()
            project = self.layout.parts[layer].attn_proj
            assert project is not None
            with torch.no_grad(), tap(self.model, {}):
                bias = project(torch.zeros_like(x[None]))[0].double()
                summed = (project(x * own.to(x)).double() - bias).sum(0) + bias
            worst = max(worst, distance(summed, out))
        fine = worst <= self.tolerance
        return (
            f"{span(layers)}, {n_heads} heads of {head_dim}",
            "ok" if fine else "failed",
            f"relative error {worst:.1e}",
        )

    def _padding(self) -> tuple[str, Outcome, str]:
        if not self.model.pads:
            return f"{len(self.prompts)} prompts", "absent", "it does: prompts of unequal length are run one by one"
        together = plain_forward(self.model, self.prompts, torch.arange(len(self.prompts))).double()
        alone = torch.cat(
            [plain_forward(self.model, [p], torch.tensor([i])).double() for i, p in enumerate(self.prompts)]
        )
        check_logits(self.model, self.prompts, torch.arange(len(self.prompts)), alone)
        error = distance(together, alone)
        return (
            f"{len(self.prompts)} prompts",
            "ok" if error <= self.tolerance else "failed",
            f"relative error {error:.1e}",
        )


__all__ = ["Check", "CheckReport", "check"]
