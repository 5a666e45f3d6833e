"""Selection: finding r̂, from prompts to candidates, their scores and the choice, with the whole table kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rhat.selection.choice import Choice, choose, choose_relaxed

if TYPE_CHECKING:
    from rhat.selection.finding import Finding as Finding
    from rhat.selection.finding import direction_at as direction_at
    from rhat.selection.finding import find as find
    from rhat.selection.settings import FindSettings as FindSettings

__all__ = ["Choice", "FindSettings", "Finding", "choose", "choose_relaxed", "direction_at", "find"]


def __getattr__(name: str) -> Any:
    if name in ("Finding", "direction_at", "find"):  # needs torch; choosing from a table does not
        from rhat.selection import finding

        return getattr(finding, name)
    if name == "FindSettings":
        from rhat.selection.settings import FindSettings

        return FindSettings
    raise AttributeError(name)
