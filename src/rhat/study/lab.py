"""The lab: a model, its r̂ and prompts, and the measurements that experiments share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rhat.capture import capture
from rhat.directions import Direction, random_direction
from rhat.errors import StudyError
from rhat.interventions import Combined, Intervention
from rhat.model.chat import ChatModel
from rhat.model.forward import Base, Plan, keep_base, last_logits
from rhat.model.tap import Edits
from rhat.prompts import ContrastSet, Prompt
from rhat.scoring import kl_divergence, refusal_score, refusals
from rhat.scoring.phrases import JUDGED_TOKENS
from rhat.selection.finding import Finding, Means, Progress, direction_at
from rhat.sites import Site
from rhat.study.config import Preset

Label = str
Doing = Intervention | Combined | Mapping[Site, Any] | None  # an intervention, ready edits, or nothing


@dataclass(frozen=True, eq=False)
class Measurement:
    """One condition on one set of prompts, prompt by prompt.

    scores are refusal scores (nats); kl is KL(base ‖ edited) of the next token, known where the baseline is.
    """

    condition: str
    label: Label
    prompt_ids: tuple[str, ...]
    scores: np.ndarray
    verdicts: tuple[str, ...] = ()
    kl: np.ndarray | None = None
    texts: tuple[str, ...] = ()

    @property
    def refused(self) -> np.ndarray:
        """True where the completion refuses."""
        return np.array([v == "refused" for v in self.verdicts], dtype=bool)

    def first(self, n: int) -> Measurement:
        """The same of the first n prompts (subsets of test prompts are nested)."""
        return Measurement(
            self.condition,
            self.label,
            self.prompt_ids[:n],
            self.scores[:n],
            self.verdicts[:n],
            None if self.kl is None else self.kl[:n],
            self.texts[:n],
        )


@dataclass(eq=False)
class Lab:
    """What every experiment needs. Experiments are plain functions of a lab that return parts of results.json."""

    model: ChatModel
    prompts: ContrastSet
    finding: Finding
    direction: Direction
    sizes: Preset
    seed: int = 0
    margin: float = 0.10
    progress: Progress = lambda _stage, _done, _total: None
    measurements: dict[tuple[str, Label], Measurement] = field(default_factory=dict)
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    shared: dict[Any, Any] = field(default_factory=dict)  # what one experiment leaves for another
    _plans: dict[tuple[Label, str, int], Plan] = field(default_factory=dict)
    _bases: dict[tuple[Label, str, int], Base] = field(default_factory=dict)
    _logits: dict[tuple[Label, str, int], Tensor] = field(default_factory=dict)

    # Prompts

    def test(self, label: Label, n: int | None = None) -> tuple[Prompt, ...]:
        """The first n test prompts of a label; none of them took part in finding or choosing r̂."""
        return self.prompts.select(label, "test", n)  # type: ignore[arg-type]

    @property
    def means(self) -> Means:
        """Training means of both sides at every layer and template position."""
        if self.finding.means is None:
            raise StudyError("this finding holds no means; run `rhat find` or `rhat study` again")
        return self.finding.means

    @property
    def tokens(self) -> tuple[int, ...]:
        """Refusal token ids."""
        return self.finding.token_ids

    def plan(self, label: Label, n: int, split: str = "test") -> Plan:
        """The first n prompts of a label and split, laid out for the fast path."""
        key = (label, split, n)
        if key not in self._plans:
            some = self.prompts_of(label, n, split)
            self._plans[key] = self.model.plan([p.text for p in some])
        return self._plans[key]

    def prompts_of(self, label: Label, n: int, split: str = "test") -> tuple[Prompt, ...]:
        """The first n prompts of a label and split; of training and validation, those that the filter kept."""
        if split == "test":
            return self.test(label, n)
        return self.finding.kept[split][label][:n]

    def base(self, label: Label, n: int, split: str = "test") -> Base:
        """The unedited run of those prompts, kept at r̂'s layer and a few below, for edits there to start from."""
        key = (label, split, n)
        if key not in self._bases:
            layers = sorted({self.direction.layer, self.direction.layer // 2})
            self._bases[key] = keep_base(self.model, self.plan(label, n, split), layers)
        return self._bases[key]

    # Measurements

    def edits(self, doing: Doing) -> Edits:
        """The edits of an intervention, of ready edits, or of nothing."""
        if doing is None:
            return {}
        if isinstance(doing, Intervention | Combined):
            return doing.edits(self.model)
        return doing

    def base_logits(self, label: Label, n: int, split: str = "test") -> Tensor:
        """Next-token logits of the unedited model, [n, vocab], in the model's dtype."""
        key = (label, split, n)
        if key not in self._logits:
            self._logits[key] = self._all_logits(self.plan(label, n, split), {}, None)
        return self._logits[key]

    def _all_logits(self, plan: Plan, edits: Edits, base: Base | None) -> Tensor:
        out: Tensor | None = None
        for rows, logits in last_logits(self.model, plan, edits, base):
            out = torch.empty(len(plan), logits.shape[-1], dtype=logits.dtype) if out is None else out
            out[rows.cpu()] = logits.cpu()
        assert out is not None
        return out

    def score(
        self, doing: Doing, label: Label, n: int, split: str = "test", *, kl: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Refusal scores (nats) of the first n prompts under an intervention, and KL(base ‖ edited) if asked for."""
        edits = self.edits(doing)
        plan = self.plan(label, n, split)
        base = (
            self.base(label, n, split) if edits and min(s.layer for s in edits) >= self.direction.layer // 2 else None
        )
        scores = torch.empty(len(plan), dtype=torch.float64)
        divergence = torch.empty(len(plan), dtype=torch.float64) if kl else None
        for rows, logits in last_logits(self.model, plan, edits, base):
            rows = rows.cpu()
            scores[rows] = refusal_score(logits, self.tokens).cpu()
            if divergence is not None:
                divergence[rows] = kl_divergence(
                    self.base_logits(label, n, split)[rows].to(logits.device), logits
                ).cpu()
        return scores.numpy(), None if divergence is None else divergence.numpy()

    def measure(
        self,
        condition: str,
        doing: Doing,
        label: Label,
        n: int | None = None,
        *,
        kl: bool = False,
        describe: Mapping[str, Any] | None = None,
        max_new_tokens: int = JUDGED_TOKENS,
    ) -> Measurement:
        """Refusals by generation of the first n test prompts under a condition, with their scores; measured once.

        `kl` also takes KL(base ‖ edited), from the baseline's logits of the same prompts. More than the judged 24 tokens
        are asked for to audit verdicts: rows then run to the end.
        """
        prompts = self.test(label, n)
        known = self.measurements.get((condition, label))
        if known is not None and len(known.verdicts) >= len(prompts) and (known.kl is not None or not kl):
            return known.first(len(prompts))
        self.describe(condition, doing, describe)
        tokens = self.model.tokenize([p.text for p in prompts])
        scores = np.empty(len(prompts))
        divergence = np.empty(len(prompts)) if kl else None
        base = self.base_logits(label, len(prompts)) if kl else None

        def first(rows: list[int], logits: Tensor) -> None:
            scores[rows] = refusal_score(logits, self.tokens).cpu().numpy()
            if divergence is not None and base is not None:
                divergence[rows] = kl_divergence(base[rows].to(logits.device), logits).cpu().numpy()

        done = refusals(
            self.model,
            tokens,
            self.edits(doing),
            first_logits=first,
            max_new_tokens=max_new_tokens,
            stop_early=max_new_tokens == JUDGED_TOKENS,
            progress=lambda d, t: self.progress(f"{condition}, {label}", d, t),
        )
        result = Measurement(
            condition,
            label,
            tuple(p.id for p in prompts),
            scores,
            done.verdicts,
            divergence,
            tuple(c.text for c in done.completions),
        )
        self.measurements[condition, label] = result
        return result

    def describe(self, condition: str, doing: Doing, said: Mapping[str, Any] | None = None) -> None:
        """Keep what a condition id stands for."""
        row: dict[str, Any] = {"op": "none"}
        if isinstance(doing, Intervention):
            row = doing.describe() | {"direction": "rhat"}
            row["sites"] = [row["sites"]]
        self.conditions[condition] = row | dict(said or {})

    # Activations

    def activations(
        self, prompts: Sequence[Prompt], layers: Sequence[int], position: int | None = None, edits: Edits | None = None
    ) -> Float[Tensor, "n layer d_model"]:
        """resid_pre of prompts at one position (r̂'s) and some layers, float32, in order. Keeps n · layers · d_model."""
        position = self.direction.position if position is None else position
        sites = [Site("resid_pre", layer) for layer in layers]
        plan = self.model.plan([p.text for p in prompts])
        out = torch.empty(len(prompts), len(layers), self.model.d_model)

        def visit(rows: Tensor, _logits: Tensor, found: Mapping[Site, Tensor]) -> None:
            out[rows.cpu()] = torch.stack([found[site][:, 0].float().cpu() for site in sites], 1)

        capture(self.model, plan, sites, [position], visit, edits)
        return out

    @cached_property
    def training(self) -> dict[Label, Float[Tensor, "n layer d_model"]]:
        """Activations of the kept training prompts (at most 256 of a label) at r̂'s position and every layer."""
        return {
            label: self.activations(self.finding.kept["train"][label][:256], range(self.model.n_layers))
            for label in ("harmful", "harmless")
        }

    @cached_property
    def testing(self) -> dict[Label, Float[Tensor, "n layer d_model"]]:
        """Activations of the headline test prompts (at most 400 of a label) at r̂'s position and every layer."""
        return {
            label: self.activations(self.test(label, min(self.sizes.headline, 400)), range(self.model.n_layers))
            for label in ("harmful", "harmless")
        }

    def layer_direction(self, layer: int) -> Direction | None:
        """The difference of means of another layer at r̂'s position, with that layer's means; None where it is zero."""
        at = self.means.positions.index(self.direction.position)
        if float(self.means.difference[layer, at].norm()) == 0:
            return None
        return direction_at(self.model, self.means, layer, self.direction.position, self.direction.prompts)

    # Controls

    @property
    def gap(self) -> float:
        """Mean harmful minus mean harmless training projection, residual-stream units: the shift that setting makes."""
        return self.direction.mean_harmful - self.direction.mean_harmless

    def random_units(self) -> list[Float[Tensor, " d_model"]]:
        """Seeded random unit vectors orthogonal to r̂."""
        return [
            random_direction(self.model.d_model, self.seed * 1000 + i, self.direction.unit)
            for i in range(self.sizes.randoms)
        ]

    def permuted_units(self, n: int = 5) -> list[Float[Tensor, " d_model"]]:
        """Unit mean differences of training activations with permuted labels."""
        both = torch.cat([self.training[label][:, self.direction.layer] for label in ("harmful", "harmless")]).double()
        n_first = len(self.training["harmful"])
        units = []
        for i in range(n):
            order = torch.randperm(len(both), generator=torch.Generator().manual_seed(self.seed * 1000 + 500 + i))
            vector = both[order[:n_first]].mean(0) - both[order[n_first:]].mean(0)
            units.append((vector / vector.norm()).float())
        return units

    def random_target(self, unit: Float[Tensor, " d_model"]) -> float:
        """Where setting puts a control direction: the harmless mean on it, plus the shift that setting r̂ makes."""
        at = self.means.positions.index(self.direction.position)
        return float(self.means.harmless[self.direction.layer, at].float() @ unit) + self.gap

    def measure_dealt(
        self,
        condition: str,
        make: Callable[[Tensor], Intervention],
        units: Sequence[Tensor],
        label: Label,
        n: int,
        describe: Mapping[str, Any] | None = None,
    ) -> Measurement:
        """Refusals by generation where prompt i gets control i mod len(units): many controls for the price of one."""
        prompts = self.test(label, n)
        known = self.measurements.get((condition, label))
        if known is not None and len(known.verdicts) >= len(prompts):
            return known.first(len(prompts))
        self.describe(condition, make(units[0]), {"direction": "random", "dealt": len(units), **(describe or {})})
        tokens = self.model.tokenize([p.text for p in prompts])
        scores = np.empty(len(prompts))
        verdicts = [""] * len(prompts)
        texts = [""] * len(prompts)
        for index, unit in enumerate(units):
            which = list(range(index, len(prompts), len(units)))
            if not which:
                continue

            def first(rows: list[int], logits: Tensor, which: list[int] = which) -> None:
                scores[[which[r] for r in rows]] = refusal_score(logits, self.tokens).cpu().numpy()

            done = refusals(self.model, [tokens[i] for i in which], self.edits(make(unit)), first_logits=first)
            for i, verdict, completion in zip(which, done.verdicts, done.completions, strict=True):
                verdicts[i], texts[i] = verdict, completion.text
            self.progress(f"{condition}, {label}", index + 1, len(units))
        result = Measurement(
            condition, label, tuple(p.id for p in prompts), scores, tuple(verdicts), None, tuple(texts)
        )
        self.measurements[condition, label] = result
        return result
