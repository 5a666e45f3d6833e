"""`rhat serve`: serve a model over an OpenAI-compatible API, with interventions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rhat.cli.options import ModelOptions, shared
from rhat.cli.progress import progress
from rhat.cli.stopping import unstoppable
from rhat.errors import DirectionError, RhatError

if TYPE_CHECKING:
    from rhat.directions import Direction
    from rhat.guard import Calibration

LIMITS, ACCESS = "Limits", "Access"


@shared
def serve(
    where: ModelOptions,
    direction: Annotated[
        list[str] | None,
        typer.Option(
            "--direction",
            "-d",
            help="Direction file, or NAME=FILE; repeat for more. Requests refer to directions by name.",
            show_default=False,
        ),
    ] = None,
    default: Annotated[
        str | None,
        typer.Option("--default", help="Intervention, as JSON, for requests that specify none.", show_default="none"),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option("--study", help="Folder of a study whose figures and refusal curve the playground shows."),
    ] = None,
    playground: Annotated[bool, typer.Option(help="Serve the playground at /.")] = True,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address to listen on; any address other than 127.0.0.1 requires an API key.",
            rich_help_panel=ACCESS,
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", "-p", min=0, max=65535, help="Port to listen on; 0 picks a free one.", rich_help_panel=ACCESS
        ),
    ] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="RHAT_API_KEY",
            help="Key that clients must send.",
            rich_help_panel=ACCESS,
            show_default=False,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", help="Additional host name of this server, such as a proxy's.", rich_help_panel=ACCESS
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin", help="Additional origin whose pages may call the server.", rich_help_panel=ACCESS
        ),
    ] = None,
    slots: Annotated[
        int, typer.Option("--slots", min=1, help="Answers generated at the same time.", rich_help_panel=LIMITS)
    ] = 16,
    max_length: Annotated[
        int,
        typer.Option("--max-length", min=8, help="Maximum tokens of a prompt and its answer.", rich_help_panel=LIMITS),
    ] = 4096,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="Maximum tokens of an answer.", rich_help_panel=LIMITS)
    ] = 1024,
    max_queue: Annotated[
        int,
        typer.Option(
            "--max-queue", min=0, help="Answers that may wait; beyond that, status 429.", rich_help_panel=LIMITS
        ),
    ] = 64,
    max_body: Annotated[
        int, typer.Option("--max-body", min=1, help="Maximum size of a request body, in bytes.", rich_help_panel=LIMITS)
    ] = 1_000_000,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", min=1, help="Seconds within which an answer must be complete.", rich_help_panel=LIMITS
        ),
    ] = 300.0,
    grace: Annotated[
        float,
        typer.Option(
            "--grace", min=0, help="Seconds that running answers may take at shutdown.", rich_help_panel=LIMITS
        ),
    ] = 20.0,
    log_prompts: Annotated[bool, typer.Option("--log-prompts", help="Write prompts and answers to the log.")] = False,
) -> None:
    """Serve a model over an OpenAI-compatible API, with an intervention per request, a guard, and a playground.

    Existing clients work unchanged; the extra field `rhat` of a request specifies interventions. A calibration file next
    to a direction (NAME.guard.json, from `rhat calibrate`) is loaded with it. Logs are JSON lines on stderr.

    Examples:

    [bold]rhat serve -d direction.safetensors[/bold]

    [bold]rhat serve -d r=direction.safetensors --default '{"op": "ablate"}' --port 9000[/bold]

    [bold]curl localhost:8000/v1/chat/completions -H 'content-type: application/json' -d '{"model": "default",
    "messages": [{"role": "user", "content": "Hi"}], "rhat": {"op": "set_projection"}}'[/bold]
    """
    try:
        from rhat.server import Settings
        from rhat.server import serve as run
    except ImportError as error:
        raise RhatError(
            f"the server needs more packages ({error.name} is missing); pip install 'rhat\\[serve]'"
        ) from error
    settings = Settings(
        host=host,
        port=port,
        api_key=api_key or None,
        allowed_hosts=tuple(allow_host or ()),
        allowed_origins=tuple(allow_origin or ()),
        slots=slots,
        max_length=max_length,
        max_tokens=max_tokens,
        max_queue=max_queue,
        max_body=max_body,
        timeout=timeout,
        grace=grace,
        log_prompts=log_prompts,
        default=_default(default),
        playground=playground,
        study=study,
    )
    directions, calibrations = _directions(direction or [], where.offline)
    with progress() as report:
        model = where.load(report)
    unstoppable()
    run(model, directions, settings, calibrations)


def _default(text: str | None) -> tuple[dict[str, Any], ...]:
    if text is None:
        return ()
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RhatError(f'--default: not valid JSON ({error}); for example \'{{"op": "set_projection"}}\'') from error
    many = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in many):
        raise RhatError('--default: expected an intervention or a list of them, for example \'{"op": "ablate"}\'')
    return tuple(many)


def _directions(given: list[str], offline: bool = False) -> tuple[dict[str, Direction], dict[str, Calibration]]:
    """Directions by name, and the calibrations found next to their files."""
    from rhat.directions import Direction
    from rhat.directions.measured import check_measured
    from rhat.guard import Calibration, beside

    directions: dict[str, Direction] = {}
    calibrations: dict[str, Calibration] = {}
    for text in given:
        before, equals, after = text.partition("=")
        name, path = (before, Path(after)) if equals and "/" not in before else (Path(text).stem, Path(text))
        if not name or name in directions:
            raise DirectionError(f"--direction {text}: two directions cannot both be named {name!r}; give NAME=FILE")
        directions[name] = check_measured(
            Direction.load(path, offline=offline)
        )  # pages, scales and defaults need both means
        if beside(path).exists():
            calibrations[name] = Calibration.load(beside(path))
    return directions, calibrations
