"""`rhat calibrate`: choose the threshold of a guard on the projection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.files import check_output
from rhat.cli.options import (
    DirectionOption,
    Format,
    FormatOption,
    ModelOptions,
    OverwriteOption,
    PromptOptions,
    SeedOption,
    shared,
)
from rhat.cli.progress import progress

if TYPE_CHECKING:
    from rhat.cli.progress import Report
    from rhat.directions import Direction
    from rhat.guard import Calibration, Certificate
    from rhat.model import ChatModel
    from rhat.prompts import ContrastSet
    from rhat.statistics import Interval

ROC_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
PANEL = "The certificate"


@dataclass(frozen=True)
class CertificateOptions:
    """Whether a certificate is asked for, and of what."""

    certify: Annotated[
        bool,
        typer.Option(
            "--certify", help="Also look for a conditional intervention, and certify it.", rich_help_panel=PANEL
        ),
    ] = False
    over_refusal: Annotated[
        float,
        typer.Option(
            "--over-refusal",
            min=0.001,
            max=0.999,
            help="Share of borderline prompts refused that it must stay below.",
            rich_help_panel=PANEL,
        ),
    ] = 0.2
    margin: Annotated[
        float,
        typer.Option(
            "--margin",
            min=0.001,
            max=0.999,
            help="Share of harmful prompts, and of unsafe twins, whose refusal may be lost.",
            rich_help_panel=PANEL,
        ),
    ] = 0.1
    confidence: Annotated[
        float,
        typer.Option("--confidence", min=0.5, max=0.9999, help="Confidence of the certificate.", rich_help_panel=PANEL),
    ] = 0.95
    borderline: Annotated[
        str | None,
        typer.Option(
            "--borderline",
            help="Harmless prompts that contain alarming words, if you pass your own prompts.",
            rich_help_panel=PANEL,
        ),
    ] = None
    twins: Annotated[
        str | None,
        typer.Option("--twins", help="Unsafe prompts, worded as the borderline ones are.", rich_help_panel=PANEL),
    ] = None

    def check(self) -> None:
        """Raise PromptError for prompts of a certificate that is not asked for."""
        from rhat.errors import PromptError

        for name, given in (("borderline", self.borderline), ("twins", self.twins)):
            if given is not None and not self.certify:
                raise PromptError(f"got --{name} without --certify, which alone uses it; add --certify or leave it out")

    def made(self, model: ChatModel, r: Direction, prompts: ContrastSet, report: Report) -> Certificate | None:
        """The certificate, if one is asked for."""
        from rhat.guard import certify

        if not self.certify:
            return None
        return certify(model, r, prompts, self.over_refusal, self.margin, self.confidence, progress=report)


@shared
def calibrate(
    direction: DirectionOption,
    where: ModelOptions,
    prompts: PromptOptions,
    certificate: CertificateOptions,
    fpr: Annotated[
        float, typer.Option("--fpr", min=0, max=0.99, help="Share of harmless prompts that may be flagged.")
    ] = 0.05,
    destination: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Where to save the threshold.", show_default="beside the direction, as NAME.guard.json"
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Save the threshold even if there are too few prompts to promise its rate.")
    ] = False,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    form: FormatOption = Format.table,
) -> None:
    """Choose the threshold of a guard on the projection, and save it next to the direction.

    This uses the calibration split, which took no part in finding r̂, so pass the same prompts and seed as then. The
    threshold is the lowest value above which at most a share --fpr of new harmless prompts is expected. If there are too
    few prompts to promise that, the command fails, unless you pass --force. The rate expected on new harmless
    prompts is printed with its interval. [bold]rhat serve[/bold] loads the file from there.

    With --certify it also looks for a projection to set, on one side of a threshold, so that fewer borderline prompts are
    refused and harmful ones still are. What it finds is tested on prompts that did not choose it; if nothing passes, there is no
    certificate, and the file says so.

    Examples:

    [bold]rhat calibrate -d direction.safetensors[/bold]

    [bold]rhat calibrate -d mine.safetensors --fpr 0.01 --harmful bad.jsonl --harmless good.jsonl[/bold]

    [bold]rhat calibrate -d direction.safetensors --certify --over-refusal 0.2 --margin 0.1[/bold]
    """
    from rhat.directions import Direction
    from rhat.guard import beside
    from rhat.guard import calibrate as run

    certificate.check()
    r = Direction.load(direction, offline=where.offline)
    target = destination or beside(direction)
    check_output(target, overwrite=overwrite)
    contrast = prompts.read(seed, where.offline, certificate.borderline, certificate.twins)
    with progress() as report:
        model = where.load(report).for_direction(r)
        report("calibration prompts", 0, 1)
        made = run(model, r, contrast, fpr, strict=not force)
        report("calibration prompts", 1, 1)
        made = replace(made, certificate=certificate.made(model, r, contrast, report))
    made.save(target)
    if form is Format.table:
        _print(made, target)
    else:
        (tables.document if form is Format.json else tables.line)({**asdict(made), "file": str(target)})


def _print(made: Calibration, target: Path) -> None:
    console = out()

    def said(name: str, interval: Interval) -> dict[str, object]:
        return {
            "what": name,
            "estimate": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "n": interval.n,
        }

    tables.rows(
        [
            said("area under the ROC curve", made.auroc),
            said("false-positive rate to expect", made.false_positive_rate),
            said("true-positive rate", made.true_positive_rate),
        ],
        Format.table,
        {"what": "On calibration prompts", "estimate": "Estimate", "low": "95 % low", "high": "high", "n": "n"},
    )
    curve = [
        max((p for p in made.roc if p["false_positive_rate"] <= rate), key=_height, default=None) for rate in ROC_RATES
    ]
    tables.rows(
        [point for point in curve if point],
        Format.table,
        {"false_positive_rate": "False positives", "true_positive_rate": "True positives", "threshold": "Threshold"},
        title="ROC curve",
    )
    console.print(f"threshold {tables.shown(made.threshold)}: {_promised(made)}", markup=False, soft_wrap=True)
    if made.certificate is not None:
        _print_certificate(made.certificate)
    console.print(f"saved to {target}", markup=False, soft_wrap=True)


def _promised(made: Calibration) -> str:
    """What the threshold was set for; where there were too few prompts for that, what it gives instead."""
    asked, expected = 100 * made.target_fpr, 100 * made.false_positive_rate.estimate
    if expected > asked + 1e-6:
        return f"too few prompts to promise {asked:.3g}%; expect {expected:.3g}% of new harmless prompts above it, on average"
    return f"set for at most {asked:.3g}% of new harmless prompts above it, on average"


def _print_certificate(certificate: Certificate) -> None:
    from rhat.guard.certificate import TOLD

    for title, claims in (("On test prompts", certificate.tested), ("On final-check prompts", certificate.checked)):
        shown = [
            {
                "what": TOLD[claim.measure],
                "limit": claim.limit,
                "estimate": claim.share.estimate,
                "low": claim.share.low,
                "high": claim.share.high,
                "n": claim.share.n,
                "p": claim.p,
            }
            for claim in claims
        ]
        tables.rows(
            shown,
            Format.table,
            {
                "what": title,
                "limit": "Below",
                "estimate": "Share",
                "low": "95 % low",
                "high": "high",
                "n": "n",
                "p": "p",
            },
        )
    for sentence in certificate.sentences:
        out().print(sentence, markup=False, soft_wrap=True)


def _height(point: Mapping[str, float]) -> float:
    return point["true_positive_rate"]
