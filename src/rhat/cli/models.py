"""`rhat models`: the catalogue, and which of its models are on this machine."""

from __future__ import annotations

from rhat.cli import tables
from rhat.cli.console import out
from rhat.cli.options import Format, FormatOption

COLUMNS = {
    "name": "Name",
    "title": "Model",
    "megabytes": "MB",
    "licence": "Licence",
    "state": "Here",
    "note": "Note",
}


def models(form: FormatOption = Format.table) -> None:
    """List the models in the catalogue, and which of them are on this machine.

    Other chat models work too: --model accepts a hub id, a folder, or a .gguf file.

    Examples:

    [bold]rhat models[/bold]

    [bold]rhat models --format jsonl | jq -r .name[/bold]
    """
    from rhat.model.catalogue import CATALOGUE, DEFAULT, cache_folder, gguf_path, is_converted

    records = []
    for entry in CATALOGUE.values():
        here = is_converted(cache_folder() / "models" / entry.sha256[:16])
        fetched = gguf_path(entry).exists()
        records.append(
            {
                "name": entry.name,
                "title": entry.title,
                "megabytes": round(entry.size / 1e6),
                "licence": entry.licence,
                "chat": entry.chat,
                "default": entry.name == DEFAULT,
                "state": "ready" if here else "downloaded" if fetched else "no",
                "note": entry.note,
            }
        )
    tables.rows(records, form, COLUMNS)
    if form is Format.table:
        out().print(f"cache: {cache_folder()} (set RHAT_CACHE to move it)", markup=False, soft_wrap=True)
