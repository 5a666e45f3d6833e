"""Directions: unit vectors with their site and scale, and the finders that compute them. Only tensor arithmetic."""

from rhat.directions.ccs import CCS, ccs_loss, fit_ccs, fit_ccs_each, reduced_width
from rhat.directions.direction import Direction
from rhat.directions.finders import FINDERS, Finder, lat, logistic, mean_difference, random_direction

__all__ = [
    "CCS",
    "FINDERS",
    "Direction",
    "Finder",
    "ccs_loss",
    "fit_ccs",
    "fit_ccs_each",
    "lat",
    "logistic",
    "mean_difference",
    "random_direction",
    "reduced_width",
]
