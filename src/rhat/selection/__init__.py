"""Selection: candidates × scores → the choice, with the whole table kept; and finding r̂ from prompts to choice."""

from rhat.selection.choice import Choice, choose, choose_relaxed

__all__ = ["Choice", "Finding", "choose", "choose_relaxed", "find"]


def __getattr__(name: str):
    if name in ("Finding", "find"):  # needs torch; choosing from a table does not
        from rhat.selection import finding

        return getattr(finding, name)
    raise AttributeError(name)
