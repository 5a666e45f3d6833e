"""Who else reads the answers of a study, and who keeps them: a panel of judges, and a file of the user's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rhat.errors import ArtifactError
from rhat.model.catalogue import cache_folder
from rhat.model.chat import ChatModel
from rhat.scoring.judges import DEFAULT, Judge, find_judge
from rhat.scoring.judges.studied import SCORE

ALWAYS = (DEFAULT, SCORE.name)


def open_panel(names: Sequence[str], model: ChatModel | None = None) -> tuple[Judge, ...]:
    """The judges of these names, once each; those that read every answer in any case, the default one and `score`, are left out.

    `model` is the one under study.

    Raises:
        JudgeError: if there is no such judge.
    """
    return tuple(
        find_judge(name, cache=cache_folder(), model=model) for name in dict.fromkeys(names) if name not in ALWAYS
    )


def check_readers(names: Sequence[str], kept: Path | None) -> None:
    """Say what cannot be used before anything is measured.

    Raises:
        JudgeError: if there is no such judge.
        ArtifactError: if answers cannot be kept in the file.
    """
    open_panel(names)
    if kept is not None:
        Keeper(kept)


class Keeper:
    """Answers as JSON lines in a file of the user's own, so that someone else can audit the judges.

    What the file holds stays, and a line that it holds is not written again: a study that goes on where it was stopped
    adds what is missing.

    Raises:
        ArtifactError: if the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a+", encoding="utf-8") as file:
                file.seek(0)
                self.held = set(file.read().splitlines())
        except (OSError, ValueError) as error:
            raise self._failed(error) from error

    def __call__(self, row: Mapping[str, str]) -> None:
        """Keep one answer."""
        line = json.dumps(row, ensure_ascii=False)
        if line in self.held:
            return
        self.held.add(line)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> ArtifactError:
        return ArtifactError(
            f"{self.path}: answers cannot be kept there ({error}); give another file with --keep-answers"
        )
