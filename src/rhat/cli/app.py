"""The command `rhat`: its commands, imported on demand, and the error messages of the command line."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import inspect
import keyword
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from rhat import __version__
from rhat.cli.console import set_up_logging
from rhat.cli.importing import watch
from rhat.cli.stopping import INTERRUPTED, stoppable
from rhat.errors import RhatError

USER_ERROR = 2
BUG = 1
USAGE: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
THEIR_OWN = (RhatError, OSError, MemoryError)  # what a user can fix, or the machine cannot do


@dataclass(frozen=True)
class Command:
    """A command's line in `rhat --help`; the function of its name is in the module of its name (`import_` for `import`, `calibrate_dose` for `calibrate-dose`)."""

    name: str
    panel: str
    help: str

    @property
    def module(self) -> str:
        """Where its function is."""
        return f"rhat.cli.{self.function}"

    @property
    def function(self) -> str:
        """What its function is called."""
        return self.name.replace("-", "_") + "_" * keyword.iskeyword(self.name)


MAIN, ONE, MODELS, USE = "Everything at once", "One question at a time", "Models", "Results and applications"
COMMANDS = {
    command.name: command
    for command in (
        Command("study", MAIN, "Find r̂, use it to induce and remove refusal, and write a report with intervals."),
        Command("find", MAIN, "Find the refusal direction r̂ of a model and save it."),
        Command("prompts", MAIN, "Show how prompt files are read, before anything runs."),
        Command("steer", ONE, "Answer prompts with and without an intervention, side by side."),
        Command("measure", ONE, "Project prompts onto a direction."),
        Command("heads", ONE, "Show which attention heads write r̂, and how few of them induce refusal."),
        Command("layers", ONE, "Compare setting with adding at every layer, each with its own r̂."),
        Command("pca", ONE, "Show principal components of harmful and harmless prompts, layer by layer."),
        Command("probe", ONE, "Compare all finders of r̂, CCS and a random direction."),
        Command("capability", ONE, "Answer 240 small questions with and without an intervention."),
        Command("models", MODELS, "List the models in the catalogue, and which of them are on this machine."),
        Command("download", MODELS, "Download a model from the catalogue, check its hash and convert it."),
        Command("check", MODELS, "Check that rhat hooks a model correctly."),
        Command("audit", USE, "Measure what a vector from another tool does to refusal."),
        Command("gauges", USE, "Measure whether harmfulness and refusal are two directions."),
        Command("bench", USE, "Compare every way to find and to move refusal, at equal damage."),
        Command("calibrate-dose", USE, "Find the dose at which an edit does a given damage."),
        Command("import", USE, "Turn a vector from another tool into a direction."),
        Command("export", USE, "Write an intervention on r̂ as a file that another tool reads."),
        Command("push", USE, "Upload a direction to the Hugging Face hub."),
        Command("report", USE, "Redraw a study's report and figures, without a model."),
        Command("verify", USE, "Recompute a study's numbers from its per-prompt results, without a model."),
        Command("compare", USE, "Compare several studies side by side."),
        Command("diff", USE, "Show whether refusal changed from one model to another, with an exit code for CI."),
        Command("judge", USE, "Judge which completions refuse, and measure how well the judge does."),
        Command("label", USE, "Label completions by hand, to test a judge against."),
        Command("calibrate", USE, "Choose the threshold of a guard on the projection."),
        Command("guard", USE, "Test a calibrated guard on your own traffic."),
        Command("serve", USE, "Serve a model over an OpenAI-compatible API, with interventions."),
    )
}


class LazyGroup(TyperGroup):
    """Lists its commands from the table above; a command's module is imported when it is invoked."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Available commands, in the order of the table."""
        return [name for name, command in COMMANDS.items() if importlib.util.find_spec(command.module)]

    def get_command(self, ctx: Any, name: str) -> Any:
        """The command itself if it has been imported, otherwise only its line of help."""
        if name not in self.commands and name in self.list_commands(ctx):
            command = COMMANDS[name]
            self.commands[name] = TyperCommand(name=name, help=command.help, rich_help_panel=command.panel)
        return self.commands.get(name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments start with, its module imported."""
        name = args[0]
        if name in self.list_commands(ctx):
            self.commands[name] = load(COMMANDS[name])
        else:
            for known in self.list_commands(ctx):  # so that near misses are suggested
                self.get_command(ctx, known)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Exceptions that Typer would swallow are wrapped, so that they reach `run`."""
        try:
            with stoppable():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise _Interrupted(str(stop), getattr(stop, "code", INTERRUPTED)) from None
        except BrokenPipeError:
            raise _BrokenPipe from None


class _Interrupted(Exception):  # noqa: N818
    """What is kept, and the exit code."""


class _BrokenPipe(Exception):  # noqa: N818
    pass


def load(command: Command) -> Any:
    """A Typer command built from the function of the same name in the command's module."""
    function = getattr(importlib.import_module(command.module), command.function)
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich", context_settings=HELP_NAMES)
    alone.command(name=command.name, help=unwrapped(function.__doc__ or command.help))(function)
    made = typer.main.get_command(alone)
    made.name = command.name
    return made


def unwrapped(text: str) -> str:
    """A docstring with each paragraph on one line, for the terminal to wrap."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(text).split("\n\n"))


HELP_NAMES = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(cls=LazyGroup, no_args_is_help=True, rich_markup_mode="rich", context_settings=HELP_NAMES)


def _show_version(wanted: bool) -> bool:
    if wanted:
        print(f"rhat {__version__}")  # noqa: T201
        raise typer.Exit()
    return wanted


@app.callback(
    epilog="Start with [bold]rhat study[/bold], or with [bold]rhat find[/bold] followed by "
    "[bold]rhat steer --direction direction.safetensors --op set_projection 'How do I boil an egg?'[/bold]"
)
def _root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. May appear anywhere.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more detail.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Find the direction r̂ that mediates refusal in a chat model, intervene on it, and measure what changed.

    Every rate has a 95 % interval, and every claim has a control.
    """
    set_up_logging(debug=debug, verbose=verbose)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code. Every failure is one line on stderr."""
    arguments, debug = _debug_first(list(arguments))
    try:
        code = typer.main.get_command(app)(args=arguments, prog_name="rhat", standalone_mode=False)
        sys.stdout.flush()
    except _Interrupted as stop:
        kept, code = stop.args
        return _fail(f"interrupted; {kept or 'nothing was written'}", code)
    except (_BrokenPipe, BrokenPipeError):
        _close_stdout()
        return 0
    except USAGE as error:
        return _fail(_usage(error), USER_ERROR)
    except typer.Abort:
        return _fail("stopped", BUG)
    except THEIR_OWN as error:
        if debug:
            traceback.print_exc()
        return _fail(_reason(error), USER_ERROR)
    except Exception as error:
        if debug:
            traceback.print_exc()
        elif type(error).__name__ == "OutOfMemoryError":
            return _fail(_reason(MemoryError(error)), USER_ERROR)
        hint = "this is a fault of rhat: please report it with what --debug shows"
        return _fail(f"unexpected {type(error).__name__}: {error}; {hint}", BUG)
    return code if isinstance(code, int) else 0


def main() -> None:
    """The entry point."""
    watch()
    sys.exit(run(sys.argv[1:]))


def _debug_first(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments, with any --debug before `--` moved to the front."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if "--debug" not in arguments[:end]:
        return arguments, False
    rest = [argument for argument in arguments[:end] if argument != "--debug"]
    return ["--debug", *rest, *arguments[end:]], True


def _reason(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory; use a smaller model, --dtype bfloat16, or fewer prompts"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        hint = "; free some space, or give another folder" if error.errno == errno.ENOSPC else ""
        return f"{where}{error.strerror}{hint}"
    return str(error) or type(error).__name__


def _usage(error: Any) -> str:
    """The message for a wrong option or argument, with a pointer to the help."""
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "rhat"
    return f"{error.format_message().rstrip('.')}; see `{where} --help`"


def _fail(message: str, code: int) -> int:
    with suppress(OSError):
        print("error:", " ".join(message.split()), file=sys.stderr)  # noqa: T201
    return code


def _close_stdout() -> None:
    """The reader is gone: keep Python from complaining about it at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
