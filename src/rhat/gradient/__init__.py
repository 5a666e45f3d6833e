"""Gradient directions: the unit vector, or the cone of them, by which a model answers when it is ablated and refuses when it is added."""

from rhat.gradient.cone import Cone, Effect, gradient_cone
from rhat.gradient.direction import GradientDirection, gradient_direction
from rhat.gradient.loss import Objective, Terms
from rhat.gradient.settings import GradientSettings
from rhat.gradient.targets import Targets, targets_of

__all__ = [
    "Cone",
    "Effect",
    "GradientDirection",
    "GradientSettings",
    "Objective",
    "Targets",
    "Terms",
    "gradient_cone",
    "gradient_direction",
    "targets_of",
]
