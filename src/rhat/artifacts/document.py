"""Documents: files of one record that begins with what was found, in plain sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import ValidationError

from rhat.artifacts.files import replace_text
from rhat.artifacts.record import Record
from rhat.errors import ArtifactError


class Document(Record):
    """A record that is a file of its own.

    command  of rhat, which writes it
    first    fields that the file begins with, before the version of its schema
    """

    command: ClassVar[str]
    first: ClassVar[tuple[str, ...]] = ("sentence", "sentences", "verdict")

    if TYPE_CHECKING:
        schema_version: int

    def plain(self) -> dict[str, Any]:
        """The record as JSON values, its version too; the sentences first."""
        said = super().plain()
        head = {name: said.pop(name) for name in self.first}
        return {**head, "schema_version": self.schema_version, **said}

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, in one step.

        Raises:
            ArtifactError: if it cannot be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, json.dumps(self.plain(), indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be written ({error.strerror or error})") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ArtifactError: if it is missing or is no such file.
        """
        path = Path(path)
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{path}: cannot be read; make one with `rhat {cls.command}`") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise ArtifactError(f"{path}: not written by `rhat {cls.command}` ({where}: {first['msg']})") from error
