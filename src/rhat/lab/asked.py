"""Asked: what the experiments of one study ask a model for, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from rhat.prompts import Label, Prompt
from rhat.selection.cost import Expected
from rhat.selection.survey import SIDES
from rhat.vocabulary import Preset


@dataclass(eq=False)
class Asked:
    """What the experiments of one study ask for, one after the other: what one has measured the next does not ask again."""

    given: Expected
    sizes: Preset
    tokens: int

    def __post_init__(self) -> None:
        self._had: set[object] = set()

    def head(self, label: Label) -> tuple[Prompt, ...]:
        """The test prompts of comparisons by generation."""
        return self.given.some(label, self.sizes.tested(label))

    def sweep(self, label: Label = "harmless", n: int | None = None) -> tuple[Prompt, ...]:
        """The test prompts of sweeps."""
        return self.head(label)[: self.sizes.sweep if n is None else n]

    def once(self, what: object) -> bool:
        """Whether this was not asked for before."""
        new = what not in self._had
        self._had.add(what)
        return new

    def measured(self, condition: str, label: Label, start: int = 0) -> None:
        """One condition on the headline prompts, by generation, unless it was measured before."""
        if self.once((condition, label)):
            self.given.answered(1, self.head(label), self.tokens, start)

    def training(self) -> None:
        """Activations of kept training prompts at every layer."""
        if self.once("training"):
            for label in SIDES:
                self.given.scored(
                    1, self.given.some(label, 256, "train"), stop=self.given.model.n_layers - 1, head=False
                )

    def testing(self) -> None:
        """Activations of test prompts at every layer."""
        if self.once("testing"):
            for label in SIDES:
                self.given.scored(1, self.head(label)[:400], stop=self.given.model.n_layers - 1, head=False)
