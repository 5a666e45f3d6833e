"""Options that several commands share: a command takes one of these classes, and `shared` spreads it out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from rhat.errors import PromptError, StudyError
from rhat.vocabulary import DEFAULT_MODEL

if TYPE_CHECKING:
    from rhat.cli.progress import Report
    from rhat.model import ChatModel
    from rhat.prompts import ContrastSet

MODEL_PANEL, PROMPT_PANEL, READING_PANEL = "The model", "The prompts", "How answers are read"


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"


class Dtype(StrEnum):
    """Precision of the forward passes."""

    auto = "auto"
    bfloat16 = "bfloat16"
    float16 = "float16"
    float32 = "float32"
    float64 = "float64"


FormatOption = Annotated[
    Format,
    typer.Option("--format", help="A table for people, one JSON value, or JSON lines.", show_choices=True),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Fixes the splits and everything drawn at random.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
DirectionOption = Annotated[
    Path,
    typer.Option("--direction", "-d", help="A direction file, from [bold]rhat find[/bold].", show_default=False),
]


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it is loaded."""

    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Catalogue name, hub id, folder, or .gguf file.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = DEFAULT_MODEL
    revision: Annotated[
        str | None, typer.Option("--revision", help="Revision of a hub model.", rich_help_panel=MODEL_PANEL)
    ] = None
    offline: Annotated[
        bool, typer.Option("--offline", help="Use only what is on this machine.", rich_help_panel=MODEL_PANEL)
    ] = False
    chat_template: Annotated[
        Path | None,
        typer.Option(
            "--chat-template", help="A Jinja file, for a model that brings none.", rich_help_panel=MODEL_PANEL
        ),
    ] = None
    system: Annotated[
        str | None,
        typer.Option("--system", help="A system prompt, instead of the template's own.", rich_help_panel=MODEL_PANEL),
    ] = None
    response_prefix: Annotated[
        str | None,
        typer.Option(
            "--response-prefix",
            help="What every answer is made to begin with, such as an empty think block; \\n is a new line.",
            show_default=False,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None
    dtype: Annotated[
        Dtype, typer.Option("--dtype", help="auto: bfloat16 where it is native.", rich_help_panel=MODEL_PANEL)
    ] = Dtype.auto
    device: Annotated[
        str | None,
        typer.Option("--device", help="cpu, cuda, cuda:1, …; auto: spread over all.", rich_help_panel=MODEL_PANEL),
    ] = None
    max_memory: Annotated[
        str | None,
        typer.Option(
            "--max-memory",
            help="Main memory to stay under, such as 8GB: what does not fit is read from disk each time.",
            show_default=False,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None
    adapter: Annotated[
        str | None,
        typer.Option(
            "--adapter",
            help="A PEFT adapter, folder or hub id, put on top of the model.",
            show_default=False,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None
    trust_remote_code: Annotated[
        bool,
        typer.Option("--trust-remote-code", help="Run code that the model brings.", rich_help_panel=MODEL_PANEL),
    ] = False

    def settings(self) -> dict[str, Any]:
        """Everything but the model's name, as `rhat.load` and StudyConfig take it."""
        return {
            "dtype": self.dtype.value,
            "revision": self.revision,
            "offline": self.offline,
            "chat_template": None if self.chat_template is None else str(self.chat_template),
            "system": self.system,
            "response_prefix": (self.response_prefix or "").replace("\\n", "\n"),
            "trust_remote_code": self.trust_remote_code,
            "device": self.device,
            "max_memory": self.max_memory,
            "adapter": self.adapter,
        }

    def load(self, progress: Report) -> ChatModel:
        """The model, loaded."""
        from rhat.model import load

        progress(f"loading {self.model}", 0, 1)
        model = load(self.model, progress=progress, **self.settings())
        progress(f"loading {self.model}", 1, 1)
        return model


@dataclass(frozen=True)
class PromptOptions:
    """Which prompts: the built-in set, or the user's own, a source per label."""

    harmful: Annotated[
        str | None,
        typer.Option(
            "--harmful",
            help="Harmful prompts: a file or data set id; without it the built-in set.",
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None
    harmless: Annotated[
        str | None,
        typer.Option("--harmless", help="Harmless prompts, likewise.", rich_help_panel=PROMPT_PANEL),
    ] = None
    both: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            help="One source of both, if a column of it says which are which.",
            show_default=False,
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None
    column: Annotated[
        str | None,
        typer.Option(
            "--column",
            help="Where prompts are in each row, if not obvious; a+b joins two.",
            show_default=False,
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None
    harmful_column: Annotated[
        str | None,
        typer.Option(
            "--harmful-column",
            help="Likewise, of the harmful prompts alone.",
            show_default=False,
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None
    harmless_column: Annotated[
        str | None,
        typer.Option(
            "--harmless-column",
            help="Likewise, of the harmless prompts alone.",
            show_default=False,
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None

    def sources(self) -> tuple[str, str] | None:
        """Where harmful and harmless prompts are, each with its column; None for the built-in set.

        Raises:
            PromptError: if only one of them was given, or one twice, or a column of none.
        """
        from rhat.prompts.sources import with_column

        harmful, harmless = self.harmful, self.harmless
        if self.both is not None:
            if harmful is not None or harmless is not None:
                raise PromptError("got --prompts and --harmful or --harmless; give either one source of both, or each")
            harmful = harmless = self.both
        if (harmful is None) != (harmless is None):
            raise PromptError("got one of --harmful and --harmless; give both, or neither for the built-in prompts")
        if harmful is None or harmless is None:
            for option in ("column", "harmful_column", "harmless_column"):
                if getattr(self, option) is not None:
                    name = option.replace("_", "-")
                    raise PromptError(f"got --{name} without prompts; give --harmful and --harmless, or --prompts")
            return None
        return (
            with_column(harmful, self.harmful_column, "--harmful-column"),
            with_column(harmless, self.harmless_column, "--harmless-column"),
        )

    def read(self, seed: int, offline: bool) -> ContrastSet:
        """The contrast set.

        Raises:
            PromptError: if it cannot be read, or only one of the labels was given.
        """
        from rhat.prompts import builtin, read

        sources = self.sources()
        if sources is None:
            return builtin(seed)
        return read(*sources, seed=seed, column=self.column, offline=offline)


@dataclass(frozen=True)
class ReadingOptions:
    """How answers are read."""

    refusal_phrases: Annotated[
        Path | None,
        typer.Option(
            "--refusal-phrases",
            help="Openings of refusals in any language, one a line, beside the built-in ones.",
            show_default=False,
            rich_help_panel=READING_PANEL,
        ),
    ] = None
    refusal_tokens: Annotated[
        str | None,
        typer.Option(
            "--refusal-tokens",
            help="First tokens of refusals, ids or texts with commas, instead of those that are found.",
            show_default=False,
            rich_help_panel=READING_PANEL,
        ),
    ] = None

    def tokens(self) -> tuple[int | str, ...]:
        """Ids and texts, as FindSettings and StudyConfig take them. Spaces are part of a text.

        Raises:
            StudyError: if one of them is empty.
        """
        if self.refusal_tokens is None:
            return ()
        given = self.refusal_tokens.split(",")
        if not all(given):
            raise StudyError(
                f"--refusal-tokens {self.refusal_tokens!r}: got an empty token; give ids or texts with commas between them"
            )
        return tuple(int(one) if one.isascii() and one.isdecimal() else one for one in given)


def shared(function: Callable[..., None]) -> Callable[..., None]:
    """The command with each parameter whose type is a class from above spread into that class's options."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        kind = hints[name]
        if is_dataclass(kind):
            groups[name] = kind
            of_fields = get_type_hints(kind, include_extras=True)
            parameters += [
                parameter.replace(name=f.name, annotation=of_fields[f.name], default=f.default) for f in fields(kind)
            ]
        else:
            parameters.append(parameter.replace(annotation=hints[name]))
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]

    @functools.wraps(function)
    def spread(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{f.name: given.pop(f.name) for f in fields(kind)})
        function(**given)

    del spread.__wrapped__  # type: ignore[attr-defined]
    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    spread.__annotations__ = {p.name: p.annotation for p in parameters}
    return spread
