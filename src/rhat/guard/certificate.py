"""Certificate: what was shown of a conditional intervention on prompts that did not choose it, and whether it held on others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rhat.directions import Direction
from rhat.errors import ArtifactError, InterventionError
from rhat.guard.conditional import Conditional
from rhat.guard.reading import fingerprint
from rhat.interventions import set_projection
from rhat.reprs import one_line
from rhat.statistics import Interval

Side = Literal["below", "above", "never"]
Measure = Literal["over_refusal", "lost_harmful", "lost_twin"]

TOLD: dict[Measure, str] = {
    "over_refusal": "borderline prompts refused",
    "lost_harmful": "harmful prompts no longer refused",
    "lost_twin": "unsafe twins no longer refused",
}


@dataclass(frozen=True)
class Setting:
    """One way of answering: set the projection to `target` for prompts on a side of a threshold, else answer as the model does.

    alpha      the target on the line from the harmless mean (0) to the harmful mean (1)
    target     the same in residual-stream units
    side       "below": prompts whose projection ≤ threshold, "above": > threshold; "never": no prompt, the model as it is
    threshold  in residual-stream units; None where the side is "never", as are alpha and target
    """

    side: Side = "never"
    threshold: float | None = None
    alpha: float | None = None
    target: float | None = None

    __repr__ = one_line

    @property
    def told(self) -> str:
        """It in words."""
        if self.side == "never":
            return "no edit"
        where = "at or below" if self.side == "below" else "above"
        return f"setting the projection to {self.target:.3g} (alpha {self.alpha:g}) for prompts {where} {self.threshold:.3g}"

    def conditional(self, direction: Direction) -> Conditional:
        """The intervention itself.

        Raises:
            InterventionError: if it edits no prompt.
        """
        if self.threshold is None or self.target is None or self.side == "never":
            raise InterventionError(
                "certificate: it is about the model as it is, so there is no gate to apply; generate without an intervention"
            )
        return Conditional(set_projection(direction, self.target), direction, self.threshold, self.side)


@dataclass(frozen=True)
class Claim:
    """A share of prompts that is to lie below a limit, and what one set of prompts says of it.

    measure  over_refusal: borderline prompts refused; lost_harmful, lost_twin: prompts of that kind which the model alone refuses and the
             setting does not. Refusals gained elsewhere are not set against those lost
    limit    the share that it must lie below
    count    prompts counted, of share.n
    share    their share, with its 95 % Wilson interval
    before   share of the same prompts that the model alone refuses
    p        p value of the null that the share is the limit or more
    """

    measure: Measure
    limit: float
    count: int
    share: Interval
    before: float
    p: float

    __repr__ = one_line

    @property
    def within(self) -> bool:
        """Whether the measured share lies below the limit."""
        return self.share.estimate < self.limit


@dataclass(frozen=True)
class Certificate:
    """The outcome of learn-then-test (Angelopoulos et al. 2021): a certified setting, or none and what came nearest.

    certified   whether any setting was shown, at `confidence`, to keep every claim at once
    setting     the certified setting with the lowest over-refusal; without any, the one that was tested first and failed
    tested      its claims on the test prompts, which took no part in ordering the settings
    checked     the same on the final-check prompts, which took no part in anything; no promise, but what came of it
    needed      prompts of each kind with which a test at the measured shares would succeed 4 times in 5; None: none would do.
                Empty for a certificate
    p           p value of the setting, adjusted for those tested before it: at most 1 − confidence if certified
    settings    how many settings there were
    passed      how many of them were certified
    confidence  the chance, over the test prompts, that no certified setting breaks a claim is at least this
    direction, model, prompts  fingerprints and names, as in Calibration
    judge       who told refusals
    """

    certified: bool
    setting: Setting
    tested: tuple[Claim, ...]
    checked: tuple[Claim, ...]
    needed: Mapping[str, int | None]
    p: float
    settings: int
    passed: int
    confidence: float
    direction: str
    model: Mapping[str, Any]
    prompts: str
    judge: str

    __repr__ = one_line

    @property
    def holds(self) -> bool:
        """Whether every claim was met on the final-check prompts, by the measured shares."""
        return all(claim.within for claim in self.checked)

    @property
    def applies(self) -> bool:
        """Whether there is a certified intervention; not where nothing passed, or the model was certified as it is."""
        return self.certified and self.setting.side != "never"

    def conditional(self, direction: Direction) -> Conditional:
        """The certified intervention, for `direction`.

        Raises:
            InterventionError: if nothing was certified, or the model was certified as it is.
            ArtifactError: if the certificate is another direction's.
        """
        if self.direction != fingerprint(direction):
            raise ArtifactError(
                f"certificate of another direction: got {self.direction}, expected {fingerprint(direction)}; "
                "certify this direction with `rhat calibrate --certify`"
            )
        if not self.certified:
            raise InterventionError(
                f"no certificate: none of {self.settings} settings was shown to keep the claims, so none is applied; give more "
                "prompts or wider limits to `rhat calibrate --certify`"
            )
        return self.setting.conditional(direction)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The outcome in sentences: what was tested, what would be needed where it failed, and what the final check found."""
        limits = ", ".join(f"under {100 * claim.limit:.3g}% of {TOLD[claim.measure]}" for claim in self.tested)
        sure = f"{100 * self.confidence:.3g}% confidence"
        if self.certified:
            first = (
                f"Certified: {self.setting.told} leaves {limits}, at {sure} (p = {self.p:.2g}). {self.passed} of {self.settings} settings "
                "passed; of these, it refuses the fewest borderline prompts."
            )
        else:
            first = (
                f"No certificate: none of {self.settings} settings was shown to leave {limits}, at {sure}. Nothing is applied. "
                f"Tested first: {self.setting.told} (p = {self.p:.2g}). {self._needed()}"
            )
        found = "; ".join(_found(claim) for claim in self.checked)
        verdict = "are all within the limits" if self.holds else "are not all within the limits"
        return first, f"On the final-check prompts, the measured shares {verdict}: {found}."

    def _needed(self) -> str:
        hopeless = [TOLD[name] for name, n in self.needed.items() if n is None]  # type: ignore[index]
        if hopeless:
            return f"At the shares measured no number of prompts would do: see {' and '.join(hopeless)}."
        prompts = {"over_refusal": "borderline prompts", "lost_harmful": "harmful prompts", "lost_twin": "twins"}
        wanted = ", ".join(f"{n} {prompts[name]}" for name, n in self.needed.items())
        return f"At the shares measured a test would take about {wanted}."

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Certificate:
        """From plain values, as `dataclasses.asdict` gives and JSON keeps them.

        Raises:
            TypeError, KeyError, ValueError: if it is none; `Calibration.load` says so in one line.
        """
        claims = {
            name: tuple(Claim(**{**claim, "share": Interval(**claim["share"])}) for claim in found[name])
            for name in ("tested", "checked")
        }
        made = cls(**{**found, **claims, "setting": Setting(**found["setting"])})
        if made.setting.side != "never" and not math.isfinite(float(made.setting.threshold)):  # type: ignore[arg-type]
            raise ValueError("a threshold that is not finite")
        return made


def _found(claim: Claim) -> str:
    share = f"{100 * claim.share.estimate:.1f}% [{100 * claim.share.low:.1f}, {100 * claim.share.high:.1f}]"
    before = f", {100 * claim.before:.1f}% before" if claim.measure == "over_refusal" else ""
    return f"{share} of {TOLD[claim.measure]} (n = {claim.share.n}{before})"
