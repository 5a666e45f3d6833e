"""Vectors of other tools: read as directions, and interventions written as files for other tools.

A format is one file in `rhat.vectors.formats` that holds a record FORMAT; the table is made from these files.
"""

from rhat.vectors.adopting import adopt
from rhat.vectors.checking import Check, check
from rhat.vectors.format import Format, Given, Steering, Wanted
from rhat.vectors.pushing import push
from rhat.vectors.table import FORMATS, format_of, format_to_write, read, write

__all__ = [
    "FORMATS",
    "Check",
    "Format",
    "Given",
    "Steering",
    "Wanted",
    "adopt",
    "check",
    "format_of",
    "format_to_write",
    "push",
    "read",
    "write",
]
