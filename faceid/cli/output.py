"""Records to stdout: a table for people, JSON Lines or CSV for programs. Progress and messages go to stderr.

Everything that is shown goes through here: what a name or a path contains is never obeyed, by a terminal or by a
spreadsheet (`indexer.text`).
"""

import csv
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import click

from faceid.cli.wrapping import wrapped
from faceid.records import SCHEMA_VERSION
from indexer.text import csv_cell, plain, plain_lines

Item = TypeVar("Item")
WIDEST_CELL = 100  # characters; what is longer goes on in the next line

Record = Mapping[str, Any]
Row = Mapping[str, object]


def write_records(
    items: Iterable[Item],
    output: str | None,
    record: Callable[[Item], Record],
    row: Callable[[Item], Row],
    widest: int | None = None,
    columns: Iterable[str] = (),
) -> None:
    """Write items as they come (`json`, `csv`), or as one table at the end (None), also when they end early.

    `columns` are a record's names, the head of a CSV that has no record: a reader of CSV takes no empty file.
    What is longer than `widest` characters goes on in the next line of its cell.
    """
    if output == "json":
        for item in items:
            click.echo(_json(_versioned(record(item))))
    elif output == "csv":
        _write_csv((_versioned(record(item)) for item in items), columns)
    else:
        rows: list[Row] = []
        try:
            rows.extend(row(item) for item in items)
        finally:
            write_table(rows, widest)


def write_table(rows: Sequence[Row], widest: int | None = None) -> None:
    """Write a table for people; nothing at all when there are no rows. What is longer than `widest` is wrapped."""
    if rows:
        cells = [[_cell(value) for value in row.values()] for row in rows]
        if widest:
            cells = [[textwrap.fill(cell, widest, break_on_hyphens=False) for cell in row] for row in cells]
        _echo_table(cells, list(rows[0]))


def write_lines(items: Iterable[Item], row: Callable[[Item], Row], widths: Sequence[int]) -> None:
    """Write a table for people a row at a time, as the items come; the last column, and what is too long, run on."""
    for number, item in enumerate(items):
        cells = row(item)
        if number == 0:
            click.echo(_line(list(cells), widths))
        click.echo(_line([_cell(value) for value in cells.values()], widths))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
    return "  ".join([*padded, *cells[len(padded) :]]).rstrip()


def write_facts(facts: Mapping[str, object], head: tuple[str, str]) -> None:
    """Write what is known of one thing as a table of two columns; long texts and lists go on in the next line."""
    # Not by tabulate's own widths: with them it takes the text False for a truth value, and shows True.
    _echo_table([[name, textwrap.fill(_fact(value), WIDEST_CELL)] for name, value in facts.items()], head)


def _echo_table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> None:
    from tabulate import tabulate  # `--help` does not wait for it

    click.echo(tabulate(rows, headers=head, tablefmt="simple", disable_numparse=True))


def _fact(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_fact(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(_fact(one) for one in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else plain(str(value))


def progress(items: Iterable[Item], unit: str) -> Iterator[Item]:
    """Pass items through with a counter on stderr, on a terminal only."""
    from tqdm import tqdm

    # A terminal that does not know its size says 0 x 0, and tqdm would print nothing at all.
    columns, lines = shutil.get_terminal_size()
    shown = tqdm(items, unit=f" {unit}", file=sys.stderr, disable=None, ncols=columns, nrows=lines, mininterval=0.5)
    return iter(shown)


def say(message: str) -> None:
    """Tell the person at the terminal something that is not data (stderr)."""
    from tqdm import tqdm

    tqdm.write(wrapped(plain_lines(message)), file=sys.stderr)


def _versioned(record: Record) -> Record:
    return {"schema_version": SCHEMA_VERSION, **record}


def _json(record: Record) -> str:
    """Return valid JSON: a number that is none becomes null, and what a terminal would obey its escape."""
    text = json.dumps(_finite(record), ensure_ascii=False, allow_nan=False)
    if text.isprintable():
        return text
    return "".join(char if plain(char) == char else json.dumps(char)[1:-1] for char in text)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def _write_csv(records: Iterable[Record], columns: Iterable[str]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    headed = False
    for record in records:
        if not headed:
            writer.writerow(record)
            headed = True
        writer.writerow([_csv_value(key, _finite(value)) for key, value in record.items()])
    if columns and not headed:
        writer.writerow(_versioned(dict.fromkeys(columns)))


def _csv_value(key: str, value: Any) -> Any:
    text = _joined(key, value)
    return csv_cell(text) if isinstance(text, str) else text


def _joined(key: str, value: Any) -> Any:
    if key == "candidates":
        return ";".join(f"{_listed(candidate['label'])}:{candidate['similarity']}" for candidate in value)
    if key == "identity":
        return value and value["label"]
    if key == "reason_codes":
        return ";".join(value)
    if isinstance(value, list) and not any(isinstance(one, dict) for one in value):
        return " ".join(str(number) for one in value for number in (one if isinstance(one, list) else [one]))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _listed(text: str) -> str:
    """Write what is joined by `;` so that it can be taken apart again."""
    return text.replace(";", "\\x3b")


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else _fact(value)
