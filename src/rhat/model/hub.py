"""The hub, asked once and briefly before anything is fetched: who mistypes a name or has no network hears so in seconds."""

from __future__ import annotations

from rhat.errors import ModelError

PATIENCE = 10.0  # seconds for the hub's answer


def check_there(name: str, revision: str | None = None) -> None:
    """Ask the hub once whether it has a model. Only a hub that cannot be reached ends here; what else it says is left to loading.

    Loading alone would try each of several files, five times each, with growing waits: the better part of a minute.

    Raises:
        ModelError: if the hub does not answer.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        HfApi().model_info(name, revision=revision, timeout=PATIENCE)
    except (HfHubHTTPError, OfflineModeIsEnabled, ValueError):  # no such model, gated, a busy hub: loading says which
        return
    except Exception as error:
        # the hub's library has changed its HTTP client twice; the clients' errors of transport agree in these names
        if not isinstance(error, OSError) and "TransportError" not in {kind.__name__ for kind in type(error).__mro__}:
            return
        raise ModelError(
            f"{name}: no such folder, not in the local cache, and the hub cannot be reached at {constants.ENDPOINT} "
            f"({' '.join(str(error).split()) or type(error).__name__}); check the name and the network, or run `rhat models` "
            "for the models that need no hub"
        ) from error
