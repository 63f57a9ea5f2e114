"""Records to stdout: a table for people, JSON Lines or CSV for programs. Progress and messages go to stderr."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import click
from tabulate import tabulate
from tqdm import tqdm

Item = TypeVar("Item")
# Raised whenever a name in docs/records.md changes its meaning.
SCHEMA_VERSION = 1

Record = Mapping[str, Any]
Row = Mapping[str, object]


def write_records(
    items: Iterable[Item], output: str | None, record: Callable[[Item], Record], row: Callable[[Item], Row]
) -> None:
    """Write items as they come (`json`, `csv`), or as one table at the end (None)."""
    if output == "json":
        for item in items:
            click.echo(json.dumps(_versioned(record(item)), ensure_ascii=False))
    elif output == "csv":
        _write_csv(_versioned(record(item)) for item in items)
    else:
        write_table([row(item) for item in items])


def write_table(rows: Sequence[Row]) -> None:
    """Write a table for people; nothing at all when there are no rows."""
    if rows:
        cells = [[_cell(value) for value in row.values()] for row in rows]
        click.echo(tabulate(cells, headers=list(rows[0]), tablefmt="simple", disable_numparse=True))


def progress(items: Iterable[Item], unit: str) -> Iterator[Item]:
    """Pass items through with a counter on stderr, on a terminal only."""
    return iter(tqdm(items, unit=f" {unit}", file=sys.stderr, disable=None, dynamic_ncols=True))


def say(message: str) -> None:
    """Tell the person at the terminal something that is not data (stderr)."""
    click.echo(message, err=True)


def _versioned(record: Record) -> Record:
    return {"schema_version": SCHEMA_VERSION, **record}


def _write_csv(records: Iterable[Record]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for number, record in enumerate(records):
        if number == 0:
            writer.writerow(record)
        writer.writerow([_csv_value(key, value) for key, value in record.items()])


def _csv_value(key: str, value: Any) -> Any:
    if key == "candidates":
        return ";".join(f"{candidate['name']}:{candidate['similarity']}" for candidate in value)
    if key == "identity":
        return value and value["name"]
    if key == "reason_codes":
        return ";".join(value)
    if isinstance(value, list):
        return " ".join(str(number) for number in value)
    return json.dumps(value) if isinstance(value, dict) else value


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    # A file name may hold a newline or an escape sequence; a table must not obey it.
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
