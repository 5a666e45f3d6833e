"""The whole of results.json as one record: the run, and every question's own rows."""

from __future__ import annotations

from typing import Any

from pydantic import create_model

from rhat.artifacts.run import Results
from rhat.questions import QUESTIONS

# Fields of later bases come first: the run, then the questions in their order.
BASES: Any = (*(question.rows for question in reversed(QUESTIONS) if question.rows), Results)
RESULTS: type[Results] = create_model(
    "Results",
    __base__=BASES,
    __module__=__name__,
    __doc__="What a study leaves behind. A field that a run did not compute is absent, never null; more fields may be added.",
)
