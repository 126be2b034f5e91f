"""Tables on a terminal, and other layouts where a table does not fit."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from .json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

_LONGEST_TEXT: Final = 200
_WIDEST: Final = 10_000
# A table is measured as a whole before it is shown, so it has to be of bounded size.
_PAGE_RECORDS: Final = 1000
# An instant is shown to the millisecond, and may wrap between date and time.
_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\d)T([\d:]+(?:\.\d{3})?)\d*\+00:00")


def show_table(console: Console, table: Table, sentences: Iterable[Text | str]) -> None:
    """Print a table or, if its longest words do not fit, sentences with the same content."""
    if _fits(console, table):
        console.print(table)
        return
    console.print()
    for sentence in sentences:
        console.print(sentence, highlight=False)
    console.print()


def show_records(console: Console, records: Iterable[dict[str, Any]]) -> None:
    """Print records as tables of a thousand, with a column for each field that one of them has.

    A value that all records of a table share is printed once, above it. `timestamp` is omitted next
    to `timestamp_iso`. Text of more than 200 characters is cut, with an ellipsis.
    """
    count = 0
    source = iter(records)
    while page := list(itertools.islice(source, _PAGE_RECORDS)):
        _show_page(console, page)
        count += len(page)
    console.print(f"{count} record{'' if count == 1 else 's'}", style="dim", highlight=False)


def _show_page(console: Console, records: list[dict[str, Any]]) -> None:
    names = _names_in(records)
    shared = _shared_by(records, names)
    for name in shared:
        console.print(
            Text.assemble((f"{_printable(name)}: ", "bold"), _cell(name, records[0][name]))
        )
    rest = [name for name in names if name not in shared]
    table = _rows(records, rest)
    if _fits(console, table):
        console.print(table)
    else:
        _print_blocks(console, records, rest)


def _fits(console: Console, table: Table) -> bool:
    return (
        Measurement.get(console, console.options.update(max_width=_WIDEST), table).minimum
        <= console.width
    )


def _names_in(records: Iterable[dict[str, Any]]) -> list[str]:
    """Return the fields of the records, in the order of their first appearance."""
    names = list(dict.fromkeys(name for record in records for name in record))
    return [name for name in names if name != "timestamp" or "timestamp_iso" not in names]


def _shared_by(records: list[dict[str, Any]], names: Iterable[str]) -> list[str]:
    """Return the fields with the same value in all records; none of a single record."""
    if len(records) < 2:  # noqa: PLR2004 - two records are the least that can share a value
        return []
    # Compared as text, because 1, 1.0 and true are equal in Python.
    return [
        name
        for name in names
        if len({_text_of(record[name]) if name in record else None for record in records}) == 1
    ]


def _rows(records: Iterable[dict[str, Any]], names: Iterable[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in names:
        # A heading wraps at underscores, because names of fields are often longer than values.
        table.add_column(Text(_printable(name).replace("_", "\n")), overflow="fold")
    for record in records:
        table.add_row(*(_cell(name, record[name]) if name in record else Text() for name in names))
    return table


def _print_blocks(
    console: Console, records: Iterable[dict[str, Any]], names: Iterable[str]
) -> None:
    for record in records:
        block = Table.grid(padding=(0, 2))
        block.add_column(style="bold")
        block.add_column(overflow="fold")
        for name in names:
            if name in record:
                block.add_row(Text(_printable(name)), _cell(name, record[name]))
        console.print(block)
        console.print()


def _cell(name: str, value: Any) -> Text:
    if isinstance(value, str):
        return Text(
            _INSTANT.sub(r"\1 \2Z", _printable(value))
            if name == "timestamp_iso"
            else _printable(value)
        )
    return Text(_printable(_text_of(value)), style="cyan")


def _text_of(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return json_text(value).decode()


def _printable(text: str) -> str:
    """Return text with control characters escaped: a record must not control the terminal."""
    if len(text) > _LONGEST_TEXT:
        text = text[: _LONGEST_TEXT - 1] + "…"
    return "".join(
        character if unicodedata.category(character) not in {"Cc", "Cs"} else ascii(character)[1:-1]
        for character in text
    )
