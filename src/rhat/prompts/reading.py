"""A contrast set from the user's own prompts, one source per label."""

import logging
import sys
from dataclasses import replace
from pathlib import Path

from rhat.errors import PromptError
from rhat.prompts.assembling import assemble, check_twins, with_own_ids
from rhat.prompts.choices import Reading
from rhat.prompts.contrast import ContrastSet, Label
from rhat.prompts.formats import parse, read_file
from rhat.prompts.hub import load_from_hub
from rhat.prompts.rows import rows_from
from rhat.prompts.shapes import Items, is_conversation
from rhat.prompts.sources import Source, parse_source

logger = logging.getLogger(__name__)
choices = logging.getLogger("rhat.prompts.choices")  # a logger of its own: the command line always shows it


def read(
    harmful: str | Path,
    harmless: str | Path,
    borderline: str | Path | None = None,
    seed: int = 0,
    *,
    twins: str | Path | None = None,
    column: str | None = None,
    revision: str | None = None,
    offline: bool = False,
) -> ContrastSet:
    """Read one source per label and split each label's prompts by topic.

    A source is a file (.jsonl, .ndjson, .json, .csv, .tsv, .parquet, or .txt with a prompt a line; packed or not) or a
    Hugging Face data set id ("owner/name", "owner/name:split", "owner/name/config:split"). "SOURCE?label=safe" takes
    some rows, "SOURCE#COLUMN" names the column of the prompts; else they are in `column`, or else in the first of the
    columns of `rhat.prompts.columns.COLUMNS`. Known data sets are read as they are meant, see docs/prompts.md. Where a
    column tells the label of each row, the rows of the label are taken. Rows may also have an id, category, topic and
    split. Rows without a topic that are near-duplicates (see `near_duplicate_groups`) are made one topic.

    What was chosen is logged, and what was left out is a warning.

    Splits are drawn by `split_by_topic`, unless every harmful and harmless row names its own. Borderline
    prompts are all for testing, and so are `twins`: unsafe requests that are worded as these are; the twin of a prompt
    is the one with its topic, where topics are given. Exact duplicates, up to case and white space, are dropped with a warning. Ids
    that two labels share get their label in front.

    Raises:
        PromptError: if a source cannot be read, rows have parts of the request that are not (such as a system message),
            a prompt has two labels, a label has fewer than 8 different prompts, or the splits cannot be made.
    """
    given: dict[Label, str | Path] = {"harmful": harmful, "harmless": harmless}
    if borderline is not None:
        given["borderline"] = borderline
    if twins is not None:
        check_twins(borderline)
        given["twin"] = twins
    sources = {label: parse_source(source, column) for label, source in given.items()}
    if revision is not None and not any(source.is_hub_id for source in sources.values()):
        raise PromptError(f"revision {revision!r} was given, but every source is a file; leave the revision out")
    readings = {
        label: read_source(source, label, revision=revision, offline=offline) for label, source in sources.items()
    }
    both = [readings["harmful"], readings["harmless"]]
    if both[0].reader.source == both[1].reader.source and [r.text for r in both[0].rows] == [
        r.text for r in both[1].rows
    ]:
        raise PromptError(
            f"{harmful}: given for harmful and harmless prompts, but no column says which are which; "
            f"choose rows with {harmful}?COLUMN=VALUE"
        )
    for reading in readings.values():
        report(reading)
    names = {label: str(source) for label, source in given.items()}
    return assemble({label: r.rows for label, r in readings.items()}, " / ".join(names.values()), seed, names)


def read_texts(
    source: str | Path | Source, column: str | None = None, *, revision: str | None = None, offline: bool = False
) -> tuple[tuple[str, str], ...]:
    """(id, text) of each prompt of one source, in its order, duplicates included.

    A source is as in `read`, or "-": standard input, JSONL or CSV if it plainly is and else a prompt a line. Ids are
    the source's own, if no two are alike, or "prompt-0001" and so on.

    Raises:
        PromptError: if the source cannot be read, or holds no prompts.
    """
    reading = read_source(parse_source(source, column), revision=revision, offline=offline)
    report(reading)
    return texts_of(reading)


def texts_of(reading: Reading) -> tuple[tuple[str, str], ...]:
    """(id, text) of the prompts of one source that was read; see `read_texts`."""
    numbered = [(f"prompt-{number:04d}", row) for number, row in enumerate(reading.rows, start=1)]
    named = with_own_ids(numbered, reading.reader.source.title)
    return tuple((row.id or number, row.text) for number, row in named)


def read_source(
    source: Source,
    label: Label | None = None,
    *,
    revision: str | None = None,
    offline: bool = False,
    conversations: bool = False,
) -> Reading:
    """The rows of a source, for prompts of this label, with what was chosen and left out.

    `revision` and `offline` matter for data set ids only. With `conversations`, a column of conversations may hold system
    messages and several turns: the whole is in `Row.messages`, and the caller says which of it is asked.

    Raises:
        PromptError: if there is nothing to read, or any row of it cannot be read.
    """
    said: tuple[str, ...] = ()
    if source.name == "-":
        items, said = parse(sys.stdin.buffer.read() or b"\n", source.title, ".txt")
    elif source.is_hub_id:
        source = _with_split(source)
        items = load_from_hub(source.name, revision, offline)
    else:
        items, said = read_file(source.name)
    talks = _column_of_conversations(items) if conversations and source.column is None else None
    rows, reader = rows_from(items, source if talks is None else replace(source, column=f"{talks}[0]"), label)
    if talks is not None:
        reader.answered = reader.later = reader.before = 0  # nothing of these is left unread
    if not rows:
        left = ", ".join(f"{n} {why}" for why, n in reader.left_out.items())
        raise PromptError(
            f"{source.title}: empty, no prompts in it{f' ({left})' if left else ''}; expected one prompt a line or row"
        )
    return Reading(tuple(rows), reader, label, said)


def _column_of_conversations(items: Items) -> str | None:
    """The first column in which a row holds a conversation; None where no row does."""
    rows = (item for _, item in items if isinstance(item, dict))
    return next((str(name) for row in rows for name, value in row.items() if is_conversation(value)), None)


def _with_split(source: Source) -> Source:
    """A data set whose split is chosen as "owner/name?split=test", written as "owner/name:test"."""
    splits = [values for column, values in source.rows if column == "split"]
    if ":" in source.name or len(splits) != 1 or len(splits[0]) != 1:
        return source
    rows = tuple(choice for choice in source.rows if choice[0] != "split")
    return replace(source, name=f"{source.name}:{splits[0][0]}", rows=rows)


def report(reading: Reading) -> None:
    """Log what was chosen, and warn of what was left out."""
    choices.info("%s", reading.summary())
    warn(reading)


def warn(reading: Reading) -> None:
    """Warn of what was left out."""
    for warning in reading.warnings():
        logger.warning("%s", warning)
