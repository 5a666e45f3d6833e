"""Rows of a Hugging Face data set."""

from typing import Any

from rhat.errors import PromptError
from rhat.prompts.faults import one_line
from rhat.prompts.sources import HUB_ID


def load_from_hub(name: str, revision: str | None, offline: bool) -> list[tuple[str, Any]]:
    """(where, row) of a data set such as "owner/name:train"; without a split its only one, else "train".

    Raises:
        PromptError: if it cannot be loaded, or has several splits of which none is "train".
    """
    match = HUB_ID.fullmatch(name)
    assert match is not None
    import datasets
    import huggingface_hub.constants

    # Both libraries read the environment once, on import; these flags are what they look at afterwards.
    flags = [(datasets.config, "HF_HUB_OFFLINE"), (huggingface_hub.constants, "HF_HUB_OFFLINE")]
    before = [getattr(module, flag) for module, flag in flags]
    try:
        if offline:
            for module, flag in flags:
                setattr(module, flag, True)
        loaded = datasets.load_dataset(match["id"], match["config"], split=match["split"], revision=revision)
    except Exception as error:  # the library raises many kinds; every one means that there are no rows
        if offline:
            raise PromptError(
                f"{name}: no such file, and no data set of that name in the local cache ({one_line(error)}); "
                "run once without offline, or give a file"
            ) from error
        raise PromptError(
            f"{name}: no such file, and it cannot be loaded as a Hugging Face data set ({one_line(error)}); "
            "check the name, split and connection, or give a file"
        ) from error
    finally:
        for (module, flag), value in zip(flags, before, strict=True):
            setattr(module, flag, value)
    if isinstance(loaded, dict):
        only = next(iter(loaded)) if len(loaded) == 1 else "train"
        if only not in loaded:
            raise PromptError(
                f"{name}: several splits ({', '.join(loaded)}) and none is train; "
                f"name one, such as {name}:{next(iter(loaded))}"
            )
        loaded = loaded[only]
    records = _undecoded(loaded).to_list()
    return [(f"{name}: row {number}", record) for number, record in enumerate(records, start=1)]


def _undecoded(loaded: Any) -> Any:
    """The data set with pictures and sound as the bytes they are."""
    for column, feature in (getattr(loaded, "features", None) or {}).items():
        if type(feature).__name__ in ("Image", "Audio", "Video"):
            loaded = loaded.cast_column(column, type(feature)(decode=False))
    return loaded
