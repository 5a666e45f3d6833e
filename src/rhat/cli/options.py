"""Options shared by several commands: a command takes one of these classes, and `shared` expands it into options."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rhat.cli.expanding import shared as shared
from rhat.errors import PromptError
from rhat.vocabulary import AUTO, DEFAULT_MODEL, DTYPE_NAMES, PRESETS, THINKING_MODES, THINKING_TOKENS

if TYPE_CHECKING:
    from rhat.cli.progress import Report
    from rhat.model import ChatModel
    from rhat.prompts import ContrastSet

MODEL_PANEL, PROMPT_PANEL = "The model", "The prompts"


class Format(StrEnum):
    """Output format of results."""

    table = "table"
    json = "json"
    jsonl = "jsonl"


if TYPE_CHECKING:
    Dtype = PresetName = StudyPresetName = Thinks = str
else:  # Typer reads the choices of an option from an enumeration
    Dtype = StrEnum("Dtype", {name: name for name in ("auto", *DTYPE_NAMES)})
    Thinks = StrEnum("Thinks", {name: name for name in THINKING_MODES})
    PresetName = StrEnum("PresetName", {name: name for name in PRESETS})
    StudyPresetName = StrEnum("StudyPresetName", {name: name for name in (*PRESETS, AUTO)})

FormatOption = Annotated[
    Format,
    typer.Option("--format", help="Output as a table, one JSON value, or JSON lines.", show_choices=True),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed for the splits and everything drawn at random.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
MarginOption = Annotated[
    float, typer.Option("--margin", help="Largest difference of refusal rates that does not matter.")
]
PresetOption = Annotated[PresetName, typer.Option("--preset", "-p", help="How many test prompts are used.")]
BorderlineOption = Annotated[
    str | None,
    typer.Option("--borderline", help="Harmless prompts that contain alarming words.", rich_help_panel=PROMPT_PANEL),
]
TwinsOption = Annotated[
    str | None,
    typer.Option("--twins", help="Unsafe prompts, worded as the borderline ones are.", rich_help_panel=PROMPT_PANEL),
]
DirectionOption = Annotated[
    Path,
    typer.Option(
        "--direction",
        "-d",
        help="A direction file, from [bold]rhat find[/bold], or hub:OWNER/NAME.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class ModelOptions:
    """Which model to load, and how."""

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
        bool, typer.Option("--offline", help="Use only files on this machine.", rich_help_panel=MODEL_PANEL)
    ] = False
    chat_template: Annotated[
        Path | None,
        typer.Option(
            "--chat-template", help="Jinja chat template, for a model that has none.", rich_help_panel=MODEL_PANEL
        ),
    ] = None
    system: Annotated[
        str | None,
        typer.Option(
            "--system", help="System prompt, in place of the template's default.", rich_help_panel=MODEL_PANEL
        ),
    ] = None
    response_prefix: Annotated[
        str | None,
        typer.Option(
            "--response-prefix",
            help="Text that every answer starts with, such as an empty think block; \\n is a new line.",
            show_default=False,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None
    thinking: Annotated[
        Thinks,
        typer.Option(
            "--thinking",
            help="Thinking before answers: by the template's switch, off or on; skip puts an empty think block.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = "off"
    thinking_tokens: Annotated[
        int,
        typer.Option(
            "--thinking-tokens",
            min=1,
            help="With --thinking on: tokens that a think block may have, before those of the answer.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = THINKING_TOKENS
    dtype: Annotated[
        Dtype,
        typer.Option("--dtype", help="Precision; auto: bfloat16 if native, else float32.", rich_help_panel=MODEL_PANEL),
    ] = "auto"
    device: Annotated[
        str | None,
        typer.Option(
            "--device", help="cpu, cuda, cuda:1, mps, …; auto: all GPUs, or Apple's.", rich_help_panel=MODEL_PANEL
        ),
    ] = None
    max_memory: Annotated[
        str | None,
        typer.Option(
            "--max-memory",
            help="Limit on main memory, such as 8GB; weights that do not fit are read from disk on every pass.",
            show_default=False,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None
    adapter: Annotated[
        str | None,
        typer.Option(
            "--adapter",
            help="PEFT adapter to apply to the model: a folder or hub id.",
            show_default=False,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None
    trust_remote_code: Annotated[
        bool,
        typer.Option("--trust-remote-code", help="Run code from the model's repository.", rich_help_panel=MODEL_PANEL),
    ] = False

    def settings(self) -> dict[str, Any]:
        """Every option but the model's name, as arguments of `rhat.load` and StudyConfig."""
        return {
            "dtype": str(self.dtype),
            "revision": self.revision,
            "offline": self.offline,
            "chat_template": None if self.chat_template is None else str(self.chat_template),
            "system": self.system,
            "response_prefix": (self.response_prefix or "").replace("\\n", "\n"),
            "thinking": str(self.thinking),
            "thinking_tokens": self.thinking_tokens,
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
    """Which prompts to use: the built-in set, or the user's own, one source per label."""

    harmful: Annotated[
        str | None,
        typer.Option(
            "--harmful",
            help="Harmful prompts: a file or data set id. Default: the built-in set.",
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None
    harmless: Annotated[
        str | None,
        typer.Option("--harmless", help="Harmless prompts, in the same way.", rich_help_panel=PROMPT_PANEL),
    ] = None
    both: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            help="One source with both labels, if one of its columns states the label.",
            show_default=False,
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None
    column: Annotated[
        str | None,
        typer.Option(
            "--column",
            help="Column that holds the prompts, if not obvious; a+b joins two columns.",
            show_default=False,
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None
    harmful_column: Annotated[
        str | None,
        typer.Option(
            "--harmful-column",
            help="The same, for the harmful prompts only.",
            show_default=False,
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None
    harmless_column: Annotated[
        str | None,
        typer.Option(
            "--harmless-column",
            help="The same, for the harmless prompts only.",
            show_default=False,
            rich_help_panel=PROMPT_PANEL,
        ),
    ] = None

    def sources(self) -> tuple[str, str] | None:
        """Sources of harmful and harmless prompts, each with its column; None for the built-in set.

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

    def read(self, seed: int, offline: bool, borderline: str | None = None, twins: str | None = None) -> ContrastSet:
        """The contrast set, with borderline prompts and their twins where a source of them is given.

        Raises:
            PromptError: if it cannot be read, only one of the labels was given, or borderline prompts or twins without the labels.
        """
        from rhat.prompts import builtin, read

        sources = self.sources()
        if sources is None:
            for option, source in (("--borderline", borderline), ("--twins", twins)):
                if source is not None:
                    raise PromptError(
                        f"got {option} with the built-in set, which has its own; give --harmful and --harmless as well"
                    )
            return builtin(seed)
        return read(*sources, borderline=borderline, seed=seed, twins=twins, column=self.column, offline=offline)


@dataclass(frozen=True)
class BorderlineOptions:
    """Prompts of over-refusal, beside the user's own of both labels."""

    borderline: BorderlineOption = None
    twins: TwinsOption = None
