"""Two conversations with the same user: one with the plain model, one under interventions. Each goes on from its own answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from html import escape

TITLES = ("Plain", "Intervened")
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Turn:
    """What the user said, and for each side what was answered, and how the page draws it."""

    user: str
    texts: tuple[str, str]
    drawn: tuple[str, str]


@dataclass(frozen=True)
class Conversation:
    """The turns so far, under one system prompt ("": the model's own)."""

    system: str = ""
    turns: tuple[Turn, ...] = ()

    def messages(self, side: int, user: str | None = None) -> Messages:
        """A side's messages, with its own answers, and then what the user says next.

        Without `user`, up to the last thing that the user said: the request behind the last answer.
        """
        said: Messages = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            said += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.texts[side]}]
        return said[:-1] if user is None else [*said, {"role": "user", "content": user}]

    def went_on(self, turn: Turn) -> Conversation:
        """The conversation with one more turn."""
        return replace(self, turns=(*self.turns, turn))

    def drawn(self) -> tuple[str, str]:
        """Both sides as HTML: all turns, one below the other, with the messages that a copied request repeats."""
        sides = []
        for side, title in enumerate(TITLES):
            several = len(self.turns) > 1
            turns = "".join(
                (f'<p class="rhat-asked"><b>User:</b> {escape(turn.user)}</p>' if several else "") + turn.drawn[side]
                for turn in self.turns
            )
            said = escape(json.dumps(self.messages(side), ensure_ascii=False))
            sides.append(f'<h2>{title}</h2><div class="rhat-turns" data-messages="{said}">{turns}</div>')
        return sides[0], sides[1]
