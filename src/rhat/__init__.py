"""rhat: find the refusal direction of a chat model, intervene on it, and measure what changed, with intervals."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rhat.shorthands import hand_over

__version__ = "0.1.0"

hand_over("generate", lambda: importlib.import_module("rhat.generation").generate)  # ChatModel.generate

# Public name → where it lives. Nothing is imported before it is asked for, so that `import rhat` is cheap.
_HOMES = {
    "load": "rhat.model",
    "ChatModel": "rhat.model",
    "find": "rhat.selection",
    "Finding": "rhat.selection",
    "FindSettings": "rhat.selection",
    "activations": "rhat.capture",
    "logits": "rhat.capture",
    "projections": "rhat.capture",
    "Direction": "rhat.directions",
    "Site": "rhat.sites",
    "Intervention": "rhat.interventions",
    "set_projection": "rhat.interventions",
    "add": "rhat.interventions",
    "subtract": "rhat.interventions",
    "ablate": "rhat.interventions",
    "intervene": "rhat.interventions",
    "adopt": "rhat.vectors",
    "audit": "rhat.auditing",
    "capability": "rhat.scoring.capability",
    "bench": "rhat.benching",
    "calibrate_dose": "rhat.benching",
    "RhatError": "rhat.errors",
}
_MODULES = (
    "artifacts",
    "auditing",
    "benching",
    "capture",
    "diff",
    "directions",
    "errors",
    "gauges",
    "generation",
    "gradient",
    "guard",
    "heads",
    "interventions",
    "model",
    "prompts",
    "report",
    "results",
    "scoring",
    "selection",
    "sites",
    "statistics",
    "study",
    "vectors",
    "vocabulary",
)

if TYPE_CHECKING:
    from rhat import artifacts as artifacts
    from rhat import auditing as auditing
    from rhat import benching as benching
    from rhat import capture as capture
    from rhat import diff as diff
    from rhat import directions as directions
    from rhat import errors as errors
    from rhat import gauges as gauges
    from rhat import generation as generation
    from rhat import gradient as gradient
    from rhat import guard as guard
    from rhat import heads as heads
    from rhat import interventions as interventions
    from rhat import model as model
    from rhat import prompts as prompts
    from rhat import report as report
    from rhat import results as results
    from rhat import scoring as scoring
    from rhat import selection as selection
    from rhat import sites as sites
    from rhat import statistics as statistics
    from rhat import study as study
    from rhat import vectors as vectors
    from rhat import vocabulary as vocabulary
    from rhat.auditing import audit as audit
    from rhat.benching import bench as bench
    from rhat.benching import calibrate_dose as calibrate_dose
    from rhat.capture import activations as activations
    from rhat.capture import logits as logits
    from rhat.capture import projections as projections
    from rhat.directions import Direction as Direction
    from rhat.errors import RhatError as RhatError
    from rhat.interventions import Intervention as Intervention
    from rhat.interventions import ablate as ablate
    from rhat.interventions import add as add
    from rhat.interventions import intervene as intervene
    from rhat.interventions import set_projection as set_projection
    from rhat.interventions import subtract as subtract
    from rhat.model import ChatModel as ChatModel
    from rhat.model import load as load
    from rhat.scoring.capability import capability as capability
    from rhat.selection import Finding as Finding
    from rhat.selection import FindSettings as FindSettings
    from rhat.selection import find as find
    from rhat.sites import Site as Site
    from rhat.vectors import adopt as adopt

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"rhat.{name}")
    from rhat.vocabulary import OPERATORS

    if name in OPERATORS:  # those without a function of their own, as `intervene` with that name
        return getattr(importlib.import_module("rhat.interventions"), name)
    raise AttributeError(f"module 'rhat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
