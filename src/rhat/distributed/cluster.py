"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from rhat.errors import StudyError


def connect(ray: Any, address: str | None, workers: int | None) -> None:
    """Join the cluster at `address`, or the one of RAY_ADDRESS; start a local one where there is neither.

    Raises:
        StudyError: if the cluster cannot be reached.
    """
    given: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        given |= {"include_dashboard": False, "num_cpus": max(os.cpu_count() or 1, workers or 1)}
    else:
        given["address"] = address
    try:
        _knock(address)
        ray.init(**given)
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise StudyError(
            f"executor ray: cannot use the cluster at {address or 'this machine'} ({reason}); start one with "
            "`ray start --head` and check the address"
        ) from error


def _knock(address: str | None) -> None:
    """See that somebody listens at host:port: Ray ends the whole process if nobody does.

    Raises:
        OSError: if nobody does.
    """
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
