"""How the rows of one source are read: which columns make the prompt, which rows are wanted, what else is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rhat.errors import PromptError
from rhat.prompts.columns import (
    BELONGS,
    DETAILS,
    JOINS,
    Profile,
    is_prompt_column,
    label_column,
    label_of,
    plain,
    prompt_columns,
    two_valued,
)
from rhat.prompts.faults import counted, one_line
from rhat.prompts.known_sets import KnownSet, Rows, known_set
from rhat.prompts.sources import Source, matching

if TYPE_CHECKING:
    from rhat.prompts.contrast import Label

STANDS_FOR: Mapping[str, Label] = {"borderline": "harmless", "twin": "harmful"}  # where no row has the label itself

Unwanted = Callable[[Mapping[str, Any]], "str | None"]  # why a row is left out, or None if it is read


@dataclass(frozen=True)
class Layout:
    """How the rows of one source are read.

    columns   of the prompt, in the order in which they are joined; none for plain strings
    main      that of them which is the request, the others being what it is about
    joint     what stands between them
    first     whether only the first user turn of a conversation is read
    explicit  whether the user named the column
    belongs   further columns that may be part of the request; a row that fills one cannot be read as it is
    details   id, category, topic and split → the columns that they are made of
    cut       what is taken off the beginning of those
    unwanted  why a row is left out
    known     the known set that the source is
    labels    how many rows have which label by their own column, if one says so
    said      what the user is told of all this, and `warned` what they must know
    """

    columns: tuple[str, ...] = ()
    main: str = ""
    joint: str = "\n\n"
    first: bool = False
    explicit: bool = False
    belongs: tuple[str, ...] = ()
    details: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cut: tuple[str, ...] = ()
    unwanted: tuple[Unwanted, ...] = ()
    known: KnownSet | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        """The prompt's columns as one would write them."""
        return "+".join(self.columns) + ("[0]" if self.first else "")


def layout_of(profile: Profile, source: Source, label: Label | None = None) -> Layout:
    """How to read a source whose rows have this profile, for prompts of this label (None: of any).

    Raises:
        PromptError: if there is no telling where the prompts are, a named column or value is not there, or no row has
            the label.
    """
    known = known_set(profile, source.name)
    warned = _other_label(known, source, label)
    if not profile.objects:
        if source.rows:
            raise PromptError(f"{source.title}: plain texts, without columns to choose rows by; leave the choice out")
        if source.column is not None:
            warned = (*warned, f"holds plain texts, so the column {source.column!r} was not looked for")
        return Layout(known=known, warned=warned)
    by, made = _labels(profile, known)
    labels: Counter[str] = Counter()
    for value, n in ((profile.values[by] or {}) if by is not None else {}).items():
        labels[made[value]] += n
    columns, joint, first, said = _prompt(profile, source, known)
    details, left = _details(profile, columns, known)
    unwanted = [*_chosen(profile, source), *_never(profile, source, known), *_of_label(profile, source, known, label)]
    taken = {*columns, *(c for column, _ in source.rows if (c := matching(column, profile.columns)))}
    if label is not None:
        for column in two_valued(profile):
            if column not in taken:
                values = counted(profile.values[column] or {})
                left.append(
                    f"column {column!r} has two values ({values}), and rows of both are read; "
                    f"choose with {source.name}?{column}=VALUE if it says which are {label}"
                )
    belongs = tuple(c for c in profile.columns if str(c).casefold() in BELONGS and c not in columns)
    split = details.get("split", ("",))[0]
    if split in taken:
        details.pop("split")
    of_set = matching(known.prompt[known.main], columns) if known and known.prompt else None
    requests = [c for c in columns if is_prompt_column(c)] or [c for c in columns if c.casefold() not in BELONGS]
    return Layout(
        columns, of_set or (requests or columns)[0], joint, first, source.column is not None, belongs, details, known.cut if known else (),
        tuple(unwanted), known,
        labels, said, (*warned, *left),
    )  # fmt: skip


def _prompt(
    profile: Profile, source: Source, known: KnownSet | None
) -> tuple[tuple[str, ...], str, bool, tuple[str, ...]]:
    """(columns, joint, first turn alone, what to say of the choice)."""
    found = profile.columns
    if source.column is not None:
        columns, first = named_columns(source.column, found, source.title)
    elif known is not None and known.prompt:
        columns = tuple(c for name in known.prompt if (c := matching(name, found)))
        return columns, known.joint, known.first, ()
    else:
        candidates = prompt_columns(profile)
        if not candidates:
            listed = one_line(", ".join(map(str, found))) if found else "none"
            raise PromptError(
                f"{source.title}: no prompts found; expected a column instruction, prompt, text, messages, goal, question "
                f"or the like, found {listed}; name the right one with --column or as {source.name}#COLUMN"
            )
        columns, first = (candidates[0],), False
        others = [c for c in candidates[1:] if profile.texts[c]]
        said = (f"column {columns[0]!r} is read, not {one_line(', '.join(others), 60)}",) if others else ()
        columns = _joined(columns, profile)
        return columns, "\n\n", columns[0].casefold() == "turns", said
    if known is not None and len(known.prompt) > 1 and columns[0].casefold() in known.prompt and len(columns) == 1:
        if not profile.filled[columns[0]]:
            return columns, "\n\n", first, ()
        both = tuple(c for name in known.prompt if (c := matching(name, found)))
        return both, known.joint, first, ()
    return _joined(columns, profile), "\n\n", first, ()


def _joined(columns: tuple[str, ...], profile: Profile) -> tuple[str, ...]:
    """The request with its object, where the field knows how the two go together."""
    if len(columns) != 1:
        return columns
    for request, thing in JOINS:
        beside = matching(thing, profile.columns)
        if columns[0].casefold() == request and beside and profile.filled[beside]:
            return columns[0], beside
    return columns


def named_columns(column: str, found: Sequence[str], title: str) -> tuple[tuple[str, ...], bool]:
    """("a+b[0]") → the columns of these names, and whether the first turn alone is meant.

    Raises:
        PromptError: if one is not there.
    """
    if exact := matching(column, found):
        return (exact,), False
    bare = column.removesuffix("[0]")
    parts = [bare] if matching(bare, found) else bare.split("+")
    names = []
    for part in parts:
        name = matching(part.strip(), found)
        if name is None:
            listed = one_line(", ".join(map(str, found))) or "none"
            raise PromptError(
                f"{title}: no column {part!r}; found {listed}; name one of them with --column, or for one file as FILE#COLUMN"
            )
        names.append(name)
    return tuple(names), bare != column


def _details(
    profile: Profile, columns: tuple[str, ...], known: KnownSet | None
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Columns of id, category, topic and split, and what to say of those that cannot be used."""
    wanted: dict[str, tuple[str, ...]] = {name: (name,) for name in DETAILS}
    wanted |= dict(known.details) if known else {}
    details, said = {}, []
    for name, parts in wanted.items():
        there = tuple(c for part in parts if (c := matching(part, profile.columns)) and c not in columns)
        if odd := [c for c in there if profile.odd[c]]:
            said.append(
                f"column {odd[0]!r} holds lists or objects in {profile.odd[odd[0]]} rows and is not used as {name}"
            )
        elif there:
            details[name] = there
    return details, said


def _chosen(profile: Profile, source: Source) -> list[Unwanted]:
    """Rows that the user does not want."""
    made: list[Unwanted] = []
    for wanted, values in source.rows:
        column = matching(wanted, profile.columns)
        if column is None:
            listed = one_line(", ".join(map(str, profile.columns)))
            raise PromptError(f"{source.title}: no column {wanted!r} to choose rows by; found {listed}")
        folded = {value.casefold() for value in values}
        there = profile.values[column]
        if there is not None and (
            odd := [v for v in values if v and v.casefold() not in {t.casefold() for t in there}]
        ):
            raise PromptError(f"{source.title}: no row has {odd[0]!r} in column {column!r}; it holds {counted(there)}")
        why = f"with another {column} than {' or '.join(map(repr, values))}"
        made.append(_unless(column, Rows(column, tuple(folded)), True, why))
    return made


def _never(profile: Profile, source: Source, known: KnownSet | None) -> list[Unwanted]:
    """Rows that a known set has for another purpose, unless the user chose among them."""
    made: list[Unwanted] = []
    chosen = {matching(wanted, profile.columns) for wanted, _ in source.rows}
    for rows, wanted in ((known and known.only, True), (known and known.left_out, False)):
        column = rows and matching(rows.column, profile.columns)
        if rows and column and column not in chosen:
            made.append(_unless(column, rows, wanted, rows.why))
    return made


def _unless(column: str, rows: Rows, wanted: bool, why: str) -> Unwanted:
    """Why a row is left out that is one of `rows`, or is not, whichever is not wanted."""
    return lambda row: None if rows.hold(plain(row.get(column))) == wanted else why


def _of_label(profile: Profile, source: Source, known: KnownSet | None, label: Label | None) -> list[Unwanted]:
    """Rows that have another label than the one that is wanted; none are, if the user chose by that column."""
    if label is None:
        return []
    column, labels = _labels(profile, known)
    of_set = matching(known.harmful.column, profile.columns) if known and known.harmful else None
    chosen = {matching(wanted, profile.columns) for wanted, _ in source.rows}
    if column is None or {column, of_set} & chosen:
        return []
    # Harmless prompts may serve as borderline ones, and harmful ones as twins, where a set does not tell the two apart.
    wanted = label if label in labels.values() else STANDS_FOR.get(label, label)
    if wanted not in labels.values():
        raise PromptError(
            f"{source.title}: no row is {label} by its column {column!r}, which holds "
            f"{counted(profile.values[column] or {})}; "
            f"give other prompts, or choose rows with {source.name}?{column}=VALUE"
        )
    return [lambda row: _label_reason(column, plain(row.get(column)), labels, wanted)]


def _labels(profile: Profile, known: KnownSet | None) -> tuple[str | None, dict[str, Label]]:
    """(column, the label that each of its values gives a row), or (None, {})."""
    column = label_column(profile)
    if column is not None:
        values = list(profile.values[column] or ())
        return column, {v: made for v in values if (made := label_of(column, v, profile.columns))}
    if known and known.harmful and (column := matching(known.harmful.column, profile.columns)):
        return column, {v: "harmful" if known.harmful.hold(v) else "harmless" for v in profile.values[column] or ()}
    return None, {}


def _label_reason(column: str, value: str, labels: Mapping[str, Label], wanted: str) -> str | None:
    made = labels.get(value)
    if made == wanted:
        return None
    return f"{made} by their column {column!r}" if made else f"nothing in their column {column!r}"


def _other_label(known: KnownSet | None, source: Source, label: Label | None) -> tuple[str, ...]:
    own = known.label_by(source.name) if known and label else None
    if known is None or own is None or own == label:
        return ()
    return (f"looks like {known.title}, whose prompts are {own}, and they are taken as {label}",)
