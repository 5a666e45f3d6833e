"""Directions: a unit vector with where it was found and what it means; and the finders. Pure maths on tensors."""

from rhat.directions.direction import Direction
from rhat.directions.finders import FINDERS, Finder, lat, logistic, mean_difference, random_direction

__all__ = ["FINDERS", "Direction", "Finder", "lat", "logistic", "mean_difference", "random_direction"]
