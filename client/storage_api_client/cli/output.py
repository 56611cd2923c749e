"""Data on standard output: a table for people, or json, yaml, csv or names for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from storage_api_client.cli.printable import printable
from storage_api_client.cli.streams import is_unicode
from storage_api_client.sizes import format_size
from storage_api_client.times import parse_time

_KEYS = ("id", "name", "host")
_SIZES = ("size_total", "size_used", "max_autosize")
_WIDE = 100_000
#: What says that it is narrower, such as COLUMNS=0, is believed no further.
_NARROWEST = 40
_HEADINGS = {
    "size_total": "SIZE", "size_used": "USED", "size_kbytes": "SIZE", "aggregate_name": "AGGREGATE",
    "active_policy_name": "POLICY", "creation_time": "CREATED", "created_at": "CREATED", "error.code": "ERROR",
    "progress.percent": "%", "queue.waiting_reason": "WAITS FOR",
}  # fmt: skip


def raw(record: Any) -> Any:
    """Return the JSON of a record, as the API answered it."""
    return getattr(record, "raw", record)


def write(records: Sequence[Any], columns: tuple[str, ...], format_: str, *, single: bool = False) -> None:
    """Write records; a ``single`` one as an object, and as lines of names and values in the place of a table."""
    rows = [raw(record) for record in records]
    if format_ in ("json", "yaml"):
        _write_document(rows[0] if single and rows else rows, format_)
    elif format_ == "csv":
        _write_csv(rows, columns)
    elif format_ == "name":
        click.echo("".join(f"{name_of(row)}\n" for row in rows), nl=False)
    elif single and rows:
        _write_details(rows[0])
    else:
        _write_table(rows, columns)


def name_of(row: Any) -> str:
    """Return what a record is called."""
    if not isinstance(row, Mapping):
        return str(row)
    return str(next((row[key] for key in _KEYS if row.get(key)), ""))


def _write_document(document: Any, format_: str) -> None:
    if format_ == "json":
        indent, in_ascii = 2 if sys.stdout.isatty() else None, not is_unicode(sys.stdout)
        click.echo(json.dumps(document, indent=indent, ensure_ascii=in_ascii))
        return
    import yaml

    click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=is_unicode(sys.stdout)), nl=False)


def _write_csv(rows: list[Any], columns: tuple[str, ...]) -> None:
    import csv

    objects = [row if isinstance(row, Mapping) else {columns[0] if columns else "value": row} for row in rows]
    names = list(dict.fromkeys(name for row in objects for name in row)) or list(columns)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([[_cell(row.get(name)) for name in names] for row in objects])


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | Mapping) else value


def for_people(name: str, value: Any) -> str:
    """Return a value as people read it: sizes with units, times in their own time zone."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return _number(name, value)
    if isinstance(value, Mapping):
        return "; ".join(
            f"{key}: {for_people(key, member)}" for key, member in value.items() if member not in (None, "")
        )
    if isinstance(value, list):
        return ", ".join(for_people("", member) for member in value)
    if name.endswith(("_at", "_time")) and (moment := parse_time(value)):
        return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
    return "" if value is None else printable(str(value))


def _number(name: str, value: int) -> str:
    if name in _SIZES:
        return format_size(value)
    return format_size(value * 1024) if name == "size_kbytes" else str(value)


def _write_details(row: Any) -> None:
    if not isinstance(row, Mapping):
        click.echo(str(row))
        return
    width = max((len(name) for name in row), default=0)
    for name, value in row.items():
        click.echo(f"{name:<{width}}  {for_people(name, value)}".rstrip())


def value_at(row: Any, column: str) -> Any:
    """Return a row's value in a column; "a.b" is b of the object a."""
    for part in column.split("."):
        row = row.get(part) if isinstance(row, Mapping) else None if part else row
    return row


def table_of(rows: Sequence[Any], columns: Sequence[str]) -> Any:
    """Return a table that fits a terminal."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column in _SIZES or column == "size_kbytes"
        heading = _HEADINGS.get(column) or column.rpartition(".")[2].replace("_", " ").upper()
        # Rich takes width from columns that wrap first: from sizes and names only when the others have none left.
        is_whole = right or column in _KEYS
        table.add_column(_cell_of(column, heading), justify="right" if right else "left", no_wrap=is_whole)
    for row in rows:
        table.add_row(*(_cell_of(column, for_people(column, value_at(row, column))) for column in columns))
    return table


def _cell_of(column: str, text: str) -> Any:
    """A cell that is cut where its column is too narrow; names are to be copied, and are folded instead."""
    from rich.text import Text

    is_key = column in _KEYS
    return Text(text, no_wrap=not is_key, overflow="fold" if is_key else "ellipsis")


def _write_table(rows: list[Any], columns: tuple[str, ...]) -> None:
    if rows and not isinstance(rows[0], Mapping):
        click.echo("".join(f"{row}\n" for row in rows), nl=False)
        return
    from rich.console import Console

    stream = sys.stdout
    if stream.isatty():
        console = Console(file=stream)
        console.width = max(console.width, _NARROWEST)
        console.print(table_of(rows, columns))
        return
    console = Console(file=stream, width=_WIDE, no_color=True)
    with console.capture() as captured:
        console.print(table_of(rows, columns))
    click.echo("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()), nl=False)
