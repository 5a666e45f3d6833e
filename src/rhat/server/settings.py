"""Settings of a server: where it listens, whom it lets in, and how much it takes on."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rhat.server.errors import ServerError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Settings:
    """How a server behaves. Seconds, bytes and tokens are plain numbers.

    host, port       where it listens; an address other than loopback needs an API key
    api_key          what clients must send as a bearer token (or as the password of a browser's login); None asks nothing
    allowed_hosts    names by which it may be addressed besides loopback's and `host` (a reverse proxy's name)
    allowed_origins  web pages of other origins that may call it, such as https://app.example.org
    slots            answers that are written at the same time
    max_length       most tokens of a prompt and its answer
    max_tokens       most new tokens that a request is given, and the number for a chat that does not say
    max_queue        most answers that wait for a slot; more get 429. One request may ask for slots + max_queue answers
    max_body         most bytes of a request's body
    timeout          seconds until an answer must be complete
    body_timeout     seconds until a request's body must be in
    grace            seconds that running answers have left when the server is told to stop
    log_prompts      write prompt texts to the log
    default          interventions (as in a request's `rhat`) for requests that do not name any
    playground       serve the page at /, if Gradio is installed
    study            a study's folder whose figures and refusal curve the playground shows
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    slots: int = 16
    max_length: int = 4096
    max_tokens: int = 1024
    max_queue: int = 64
    max_body: int = 1_000_000
    timeout: float = 300.0
    body_timeout: float = 20.0
    grace: float = 20.0
    log_prompts: bool = False
    default: tuple[dict[str, Any], ...] = ()
    playground: bool = True
    study: Path | None = None

    def __post_init__(self) -> None:
        for name in ("slots", "max_length", "max_tokens", "max_body", "timeout", "body_timeout"):
            if not getattr(self, name) > 0:
                raise ServerError(f"{name.replace('_', '-')}: got {getattr(self, name)}, expected more than 0")
        if self.max_queue < 0 or self.grace < 0:
            raise ServerError("max-queue and grace: expected 0 or more")
        if self.api_key is not None and not (
            self.api_key.isascii() and self.api_key.isprintable() and len(self.api_key) >= 8
        ):
            raise ServerError("API key: expected at least 8 printable ASCII characters")
        if not is_loopback(self.host) and self.api_key is None:
            raise ServerError(
                f"{self.host} can be reached from other machines, so an API key is needed: "
                "set RHAT_API_KEY (or --api-key), or listen on 127.0.0.1 behind a reverse proxy"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
